#!/usr/bin/env bash
# Prints what can be seen of this image's capabilities: shell[,python][,node][,native].
set -u

has() { command -v "$1" >/dev/null 2>&1; }

found=shell
if has python3; then found+=,python; fi
if has node; then found+=,node; fi
if has make && { has cc || has gcc || has clang; }; then found+=,native; fi
printf '%s\n' "$found"
