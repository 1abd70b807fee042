"""Mathematics: LaTeX as words. Fractions, roots, common operators and Greek letters have their English names.

Other commands lose their backslash. Dollars, backslashes and braces of mathematics are never spoken.
"""

from __future__ import annotations

import re

_MAX_DEPTH = 12  # braces in braces that are read; deeper ones only go

_DISPLAY = re.compile(r"\$\$([^$]{1,4000})\$\$")
_INLINE = re.compile(r"\$(?<![\\$A-Za-z0-9]\$)(?=[^\s$])((?:[^$\n\\]|\\[^\n]){0,400}?[^\s$\\]|\S)\$(?![\d$])")
_IN_BRACKETS = re.compile(
    r"\\\(((?:[^\\]|\\(?![()])){1,4000}?)\\\)|\\\[(?![\d, ]+\\\])((?:[^\\]|\\(?![\[\]])){1,4000}?)\\\]"
)
_SIGN = re.compile(r"[\\^_=+<>{}*/|≤≥×÷-]")
_BLOCK = re.compile(r"\\begin\{(\w{1,20}\*?)\}((?:[^\\]|\\(?!begin|end)){0,4000})\\end\{\1\}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[^{}]{0,40}\}(?:\{[lcr|]*\})?")
_COMMAND = re.compile(
    r"[_^]?\\[A-Za-z]+\*?(?:\[[^\[\]\n]{0,40}\])?(?:\s?[_^]?\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|[_^][A-Za-z0-9])*"
)

_CITED = re.compile(r"\\(?:cite[pt]?|ref|eqref|label|tag)\*?(?:\[[^\[\]\n]{0,80}\])?\{[^{}\n]{0,200}\}")
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)\s*(\d))")
_ROOT = re.compile(r"\\sqrt\s*(?:\[([^\[\]]*)\])?\s*(?:\{([^{}]*)\}|(\w))")
_WRAPPED = re.compile(
    r"\\(?:text\w{0,6}|math\w{2,4}|operatorname\*?|mbox|boxed|ce|bm|boldsymbol|overline|underline|left|right|big[lr]?"
    r"|Big[lr]?|bigg[lr]?|displaystyle|limits|nolimits|emph|(?:sub)*section|title|item|url)(?![A-Za-z])"
)
_POWER = re.compile(r"\s*\^\s*(?:\{([^{}]*)\}|(\\[A-Za-z]+|[^\s{}]))")
_INDEX = re.compile(r"_\s*(?=[\w{\\])")
_LOOSE_BRACES = re.compile(r"(?<![A-Za-z}\]\\])\{([^{}]*)\}")
_NAME = re.compile(r"\\([A-Za-z]+)\*?")
_MARKED = re.compile(r"\\([%$&#_{}])")
_SPACE = re.compile(r"\\[,;:! ]|[~&{}]|\\\\(?:\[[^\]]{0,12}\])?|\\")
_POWERS = {"2": "²", "3": "³", "\\circ": " degrees ", "\\degree": " degrees ", "\\prime": "'", "'": "'"} | {
    end: end for end in ("th", "st", "nd", "rd")
}
_NAMES = {
    "times": "times", "cdot": "times", "ast": "times", "div": "divided by", "pm": "plus or minus",
    "mp": "minus or plus", "leq": "less than or equal to", "le": "less than or equal to",
    "leqslant": "less than or equal to", "geq": "greater than or equal to", "ge": "greater than or equal to",
    "geqslant": "greater than or equal to", "lt": "less than", "gt": "greater than", "ll": "much less than",
    "gg": "much greater than", "neq": "not equal to", "ne": "not equal to", "approx": "approximately",
    "equiv": "equivalent to", "sim": "similar to", "propto": "proportional to", "infty": "infinity", "sum": "sum",
    "prod": "product", "int": "integral", "iint": "double integral", "oint": "integral", "partial": "partial",
    "nabla": "nabla", "in": "in", "notin": "not in", "subset": "subset of", "subseteq": "subset of",
    "supset": "superset of", "cup": "union", "cap": "intersection", "emptyset": "empty set",
    "varnothing": "empty set", "forall": "for all", "exists": "there exists", "to": "to", "rightarrow": "to",
    "longrightarrow": "to", "leftarrow": "from", "mapsto": "maps to", "implies": "implies", "Rightarrow": "implies",
    "iff": "if and only if", "Leftrightarrow": "if and only if", "land": "and", "wedge": "and", "lor": "or",
    "vee": "or", "lnot": "not", "neg": "not", "circ": "degrees", "degree": "degrees", "angle": "angle",
    "perp": "perpendicular to", "parallel": "parallel to", "mid": "divides", "setminus": "minus",
    "therefore": "therefore", "because": "because", "ldots": "…", "cdots": "…", "dots": "…", "vdots": "…",
    "quad": " ", "qquad": " ", "binom": "choose", "varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi",
    "varrho": "rho", "varsigma": "sigma", "ell": "l", "vec": "vector", "hbar": "h bar", "prime": "'", "langle": "",
    "rangle": "", "lfloor": "", "rfloor": "",
}  # fmt: skip


def without_maths(text: str) -> str:
    """The text with its LaTeX as words. Prices keep their dollars, by Pandoc's rule for a dollar sign."""
    if "$" in text:
        text = _DISPLAY.sub(lambda found: f" {_read(found[1])} ", text)
        text = _INLINE.sub(_inline, text)
    if "\\" in text:
        text = _BLOCK.sub(lambda found: f" {_read(found[2])} ", text)
        text = _IN_BRACKETS.sub(lambda found: _read(found[1] or found[2]), text)
        text = _COMMAND.sub(_command, _ENVIRONMENT.sub(" ", text))
    return text


def _inline(found: re.Match[str]) -> str:
    content = found[1]
    is_prose = " " in content and not _SIGN.search(content)
    return found[0] if is_prose else _spaced(found, _read(content))


def _command(found: re.Match[str]) -> str:
    return _spaced(found, _read(found[0]))


def _spaced(found: re.Match[str], words: str) -> str:
    """The words with a blank towards an ASCII letter or digit that they would touch."""
    before, after = found.string[max(0, found.start() - 1) : found.start()], found.string[found.end() : found.end() + 1]
    left = " " if before.isalnum() or before in ("/", "\\", ":", ")", "}") else ""
    return left + words + (" " if after.isalnum() or after == "\\" else "")


def _read(maths: str) -> str:
    maths = _WRAPPED.sub(" ", _ENVIRONMENT.sub(" ", _CITED.sub("", maths)))
    for _ in range(_MAX_DEPTH):
        before = maths
        maths = _POWER.sub(_power, _ROOT.sub(_root, _FRACTION.sub(_fraction, maths)))
        if maths == before:
            maths = _LOOSE_BRACES.sub(r" \1 ", maths)
        if maths == before:
            break
    maths = _NAME.sub(_name, _INDEX.sub(" ", maths.replace("\\\\", " ")))
    maths = _SPACE.sub(" ", _MARKED.sub(r" \1", maths).replace("_", " "))
    return " ".join(maths.replace("{", " ").replace("}", " ").replace("^", " ").split())


def _fraction(found: re.Match[str]) -> str:
    above, below = (found[1], found[2]) if found[1] is not None else (found[3], found[4])
    return f" {above} over {below} "


def _root(found: re.Match[str]) -> str:
    radicand = found[2] if found[2] is not None else found[3]
    degree = {None: "square", "2": "square", "3": "cube"}.get(found[1], f"{found[1]}th")
    return f" {degree} root of {radicand} "


def _power(found: re.Match[str]) -> str:
    power = (found[1] if found[1] is not None else found[2]).strip()
    return _POWERS.get(power, f" to the power of {power} ")


def _name(command: re.Match[str]) -> str:
    return f" {_NAMES.get(command[1], command[1])} "
