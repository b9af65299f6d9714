#!/bin/sh
# A Swin goes on with photographs on a GPU, in one command; needs requirements/train.txt and export.txt.
#   sh scripts/gpu_photos.sh PEOPLE.npz PACK OUT
# PEOPLE.npz: `python -m training.photos.label`; PACK: `python -m training.synthetic.pack`. Both travel: 33 and 20 MB.
# OUT/hmr-NAME.pt: trained weights of each recipe NAME-photos; made from the package of that name where there is none.
# OUT/run/RECIPE.pt: the result, after every check and at the end.
# Environment: MINUTES (11; start, test crops and the last scoring come on top), DEVICE (cuda), WORKERS (14),
# RECIPES (swin-t-s2-lite-photos), BATCH (each recipe's own is for CPUs), TEST_CROPS, POOL, PYTHON.
set -eu
people=$1 pack=$2 out=$3
python=${PYTHON:-python}
mkdir -p "$out"
set --
for recipe in ${RECIPES:-swin-t-s2-lite-photos}; do
    name=hmr-${recipe%-photos}
    [ -f "$out/$name.pt" ] || "$python" -m bodycast export weights "assets/models/$name" --out "$out/$name.pt"
    set -- "$@" "$recipe"
done
init=
for recipe in "$@"; do init="$init $recipe=$out/hmr-${recipe%-photos}.pt"; done
# shellcheck disable=SC2086 - one word a checkpoint
exec "$python" -m training --recipe "$@" --init $init --stream "$pack" --photos "$people" --photo-share 0.5 \
    --minutes "${MINUTES:-11}" --device "${DEVICE:-cuda}" --workers "${WORKERS:-14}" --batch "${BATCH:-512}" \
    --pool "${POOL:-60000}" --test-crops "${TEST_CROPS:-512}" --augment full --validate-every 120 \
    --out "$out/run" --no-tensorboard
