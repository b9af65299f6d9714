"""Addresses of network sources, fit for people to see."""

from __future__ import annotations

import re


def public_url(url: str) -> str:
    """The URL without the user name and password that many cameras' URLs carry, fit for messages and files. What is no
    URL stays as it is."""
    return re.sub(r"^([^/?#]+://)[^/?#]*@", r"\1", url)
