"""Addresses of network sources, fit for people to see."""

from __future__ import annotations

import re


def public_url(url: str) -> str:
    """The URL without the user name, the password and the values of the query, which many cameras' URLs carry, fit for
    messages and files. What is no URL stays as it is."""
    if not re.match(r"[A-Za-z][\w+.-]*://", url):
        return url
    shown = re.sub(r"^([^/?#]+://)[^/?#]*@", r"\1", url)
    return re.sub(r"([?&;])([^=&;#]*)=[^&;#]*", r"\1\2=...", shown)
