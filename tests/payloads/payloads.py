"""Texts that try to run, to hide, to lead elsewhere or to steer a terminal."""

from __future__ import annotations

RUN = "window.pwned=1"

MARKUP = (
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{RUN}">',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}",
    f"<svg/onload={RUN}>",
    f"</title><script>{RUN}</script>",
    f"</script><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"--><script>{RUN}</script><!--",
    f"</text></svg><script>{RUN}</script>",
    f'<a href="javascript:{RUN}">a</a>',
    f"javascript:{RUN}",
    f'<iframe srcdoc="<script>parent.{RUN}</script>">',
    "</style><style>body{display:none}",
    f"expression({RUN}); background: url(https://example.org/x)",
    '<link rel=stylesheet href="https://example.org/x.css">',
    '<meta http-equiv="refresh" content="0;url=https://example.org/">',
    '<base href="https://example.org/"><form action=/ id=f><input name=title>',
    f"{{{{7*7}}}}{{% set x = 1 %}}${{{RUN}}}",
    f'\\"+({RUN})+"\\',
    "&lt;b&gt; &amp;lt; &#60;script&#62;",
    f"[link](javascript:{RUN}) ![p](https://example.org/x.png) <https://example.org>",
    '=HYPERLINK("https://example.org";"a")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1+1)",
)

CONTROL = (
    "\x1b[31mred\x1b[2J",
    "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJmIH4=\x07",
    "bell\x07back\x08space\x7f",
    "\x9b31mc1\x9d0;title\x9c",
    "over\rwritten",
    "nul\x00byte",
    "\u202egnp.exe",
    "\u2066a\u2069 b\u2028c",
    "no \ufffe sign \uffff",
)
"""Among them what ends the process that draws a chart of it."""

HALF = "lone \ud800 half"
"""As of a file's name that is no UTF-8: no table takes it, but pages, JSON and terminals do."""

PAYLOADS = (*MARKUP, *CONTROL)
ALL = " ".join(PAYLOADS)
