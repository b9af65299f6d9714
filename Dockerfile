# Bodycast on a CPU, without a window:
#   docker build -t bodycast .
#   docker run --rm -v "$PWD:/data" bodycast run film.mp4 --no-window --output out
#   docker run --rm --device /dev/video0 --group-add video -v "$PWD:/data" bodycast run 0 --no-window --output out
# Results belong to the user bodycast (1000); --user "$(id -u):$(id -g)" makes them yours.
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
# OpenCV's libraries, and OpenGL without a display.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libegl1 libegl-mesa0 libgl1-mesa-dri libglx-mesa0 \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel pip install --no-cache-dir /wheel/*.whl
RUN useradd --create-home --uid 1000 bodycast && mkdir /data /cache && chown bodycast /data && chmod 1777 /cache
# What engines build and remember; a volume here keeps it from run to run.
ENV BODYCAST_CACHE=/cache
USER bodycast
WORKDIR /data
ENTRYPOINT ["bodycast"]
CMD ["--help"]
