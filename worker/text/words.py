"""Word lists of the ten languages for cleaning: what a broken line goes on with, what stands before a needed number."""

from __future__ import annotations

import re
from functools import lru_cache

# Articles, prepositions and conjunctions, which end no sentence and no item of a list.
_JOINING = {
    "English": """a an the of to in on at by for from with near into onto over under beside between among through during
        after before behind above below within without toward towards until since across along around against despite
        about upon via per than as like and or but nor if because although though while whereas that which who whose
        whom this these those my your his her its our their every each""",
    "German": """der die das den dem des ein eine einen einem einer eines in im an am auf aus bei beim mit nach von vom
        zu zum zur für über unter vor hinter neben zwischen durch gegen ohne um bis seit während wegen trotz und oder
        aber sondern denn dass ob wenn weil als wie sowie""",
    "French": """
        le la les l' un une des du de d' au aux à en dans sur sous chez par pour avec sans entre vers depuis pendant
        avant après devant derrière contre près et ou mais ni car donc que qui dont où si comme lorsque quand""",
    "Spanish": """
        el la los las un una unos unas de del a al en con sin por para sobre bajo entre hasta desde hacia según
        durante tras contra cerca y e o u pero ni sino que quien cuyo porque si como cuando aunque""",
    "Portuguese": """o a os as um uma uns umas de do da dos das em no na nos nas ao à aos às com sem por pelo pela pelos
        pelas para sobre sob entre até desde durante após contra perto e ou mas nem que quem cujo porque se como quando
        embora""",
    "Italian": """il lo la i gli le l' un uno una di del dello della dei degli delle a al allo alla ai agli alle da dal
        dallo dalla dai dagli dalle in nel nello nella nei negli nelle con su sul sullo sulla sui sugli sulle per tra
        fra sotto sopra senza verso durante dopo prima contro vicino e ed o ma né che chi cui perché se come quando""",
    "Russian": """в во на к ко с со у о об обо от до из изо за над под перед при про для без через между около возле
        после среди из-за из-под и или но а да ни что чтобы если когда потому хотя как""",
}

# Particles at a line's end that a sentence goes on after, and Chinese words of that kind; greetings are none.
_PARTICLE_AT_END = re.compile(
    "(?<!こんにち)(?<!こんばん)[はがをにでと]$|(?:まで|より)$|[을를은는의에]$|에서$|[和与與跟及或在把被从從对對向]$"
)

# What stands before a number in brackets that the sentence needs: "see [3]".
_NEEDING_NUMBER = {
    "English": "see also in from of by ref refs reference references eq equation compare cf to with and",
    "German": "siehe auch in im aus von vom nach laut vgl zu bei mit und",
    "French": "voir aussi dans de du par selon cf d'après à en avec et",
    "Spanish": "ver también véase vea en de del por según cf con a y",
    "Portuguese": "ver também veja em de do da por segundo conforme cf com e",
    "Italian": "vedi anche in da dal di del per secondo cfr con e",
    "Russian": "см также смотри смотрите в из от по ср о с и",
    "Chinese": "见 參見 参见 参考 根据 来自 在 如 据 按 由 从",
    "Japanese": "参照 文献 論文",
    "Korean": "참조 참고 문헌",
}

# Editors' remarks in square brackets, which are never spoken. Notes have a number: "note 2".
_REMARKS = """
    citation needed|(?:better|additional|full|non-primary|primary|third-party) (?:source|citation)s? needed
    (?:clarification|verification|page|page number|attribution|example|update|explanation|definition) needed
    (?:needs|further) (?:update|citation|clarification|explanation needed)|failed verification|not verified in body
    not in (?:citation|source)(?: given)?|original research\\??|dubious(?: ?[—-] ?discuss)?
    disputed|unreliable source\\??
    (?:by|according to|to) whom\\?|(?:who|whom|when|where|which|why|how|what|vague|sic|source|relevant)\\?
    (?:permanent )?dead link|citation required|source needed|vague|weasel words
    (?:Beleg|Quelle|Nachweis|Einzelnachweis|Seite)n? fehlt|(?:Belege|Quellen|Nachweise|Einzelnachweise) fehlen
    (?:wer|wann|wo|welche[rs]?|von wem)\\?|Beleg (?:nötig|erforderlich)
    (?:réf|référence|source|citation)\\.? (?:nécessaire|souhaitée|insuffisante|à confirmer)|(?:qui|quand|où|lequel) ?\\?
    précision nécessaire|pas clair|(?:cita|fuente|referencia|aclaración) requerida
    (?:¿ ?)?(?:quién|cuándo|dónde|cuál) ?\\?
    carece de fontes\\??|(?:citação|fonte) necessária|sem fontes?|(?:quem|quando|onde|qual) ?\\?
    senza fonte|(?:citazione|fonte) (?:necessaria|mancante)|(?:chi|dove|quale) ?\\?|non chiaro
    источник(?:\\?| не указан[^\\[\\]\\n]{0,20})|нет источника|(?:кто|когда|где|какой|кем) ?\\?|уточнить
    来源请求|來源請求|需要引用|需要来源|来源不明|(?:谁|誰|何时|何時|哪里)[?？]|要出典|要検証|独自研究[?？]|いつ[?？]|出典無効
    출처 필요|출처필요|(?:누가|언제|어디)\\?
    (?:note|notes|nb|n|nota|anm\\.?|anmerkung|прим\\.?|注|註|注釈|주) ?\\d{1,3}
"""
REMARKS = "|".join(_REMARKS.split("\n")[1:-1]).replace("    ", "")

# A number before one of these is a date: "vom 1. Mai bis 2. Juni". Only German writes a stop there.
_MONTHS = """
    januar jänner februar märz april mai juni juli august september oktober november dezember jan feb mär apr jun
    jul aug sep sept okt nov dez
"""
MONTHS = frozenset(_MONTHS.split())


@lru_cache(maxsize=16)
def joining(language: str) -> frozenset[str]:
    """The articles, prepositions and conjunctions of a language, or of all of them for "Auto"."""
    return _chosen(_JOINING, language)


def ends_in_particle(line: str) -> bool:
    """True for a line that ends in a particle of Japanese or Korean, or in such a word of Chinese."""
    return _PARTICLE_AT_END.search(line[-8:]) is not None


@lru_cache(maxsize=16)
def needing_number(language: str) -> frozenset[str]:
    """The words of a language, or of all of them for "Auto", after which a number in brackets is spoken."""
    return _chosen(_NEEDING_NUMBER, language)


def _chosen(lists: dict[str, str], language: str) -> frozenset[str]:
    return frozenset(word for name, words in lists.items() if language in (name, "Auto") for word in words.split())
