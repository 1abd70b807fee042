"""Abbreviations by language: words with a full stop that does not end their sentence.

Chinese, Japanese and Korean text has Latin abbreviations only: it uses the English lists. Dotted abbreviations are
written without blanks, so "z.b" stands for "z. B." too. No list is complete; `worker/text/stops.py` has the rules
beside them.
"""

from __future__ import annotations

# A title, or a word that needs the next one: its full stop never ends a sentence.
BEFORE_A_NAME = {
    "English": "attn mr mrs ms mx messrs dr prof rev hon gen sen rep gov pres supt col maj sgt cpl pvt capt lt cmdr"
    " adm insp det ald fr vs cf viz approx assoc asst",
    "German": "dr prof hr hrn fr frl fa bzw ca vgl sog evtl ggf ggfs inkl exkl zzgl geb gest verh dipl ing med phil"
    " jur rer nat em habil theol mag hl kgl allg bes insb insbes einschl entspr gem max min mind abzgl ehem eigtl"
    " urspr",
    "French": "m mm mme mmes mlle mlles dr drs pr prof me mgr st ste sts bd boul cf env vs gén col lt cdt cap",
    "Spanish": "ee pdte sr sra sres srta sras dr dra dres dña d ud uds vd vds prof profa gral gob lic ing arq avda"
    " sta sto st cnel cap tte mons fr rev hno",
    "Portuguese": "dir sr sra srs srta dr dra drs prof profa exmo exma eng cel cap ten gen pe gov",
    "Italian": "sig sigg dott prof avv ing arch geom on rag dr mons gen col cap ten cav comm spett egr gent",
    "Russian": "ул пр просп пер пл наб д стр им проф акад доц тов гос обл пос дер см ср св напр ред изд гр",
}
# Its full stop ends a sentence only before a word that begins one.
BEFORE_A_CAPITAL = {
    "English": "mt ft oz st ave blvd rd ln sq hwy jr sr esq dept univ inst assn bros al est ext tel intl natl fin"
    " min max amb sec atty msgr br bp brig dep deg",
    "German": "str abt st mio mrd tsd jh jhd nr abs abb tel hbf bhf",
    "French": "éd av al apr j.-c tél",
    "Spanish": "av uu aprox tel al",
    "Portuguese": "av aprox tel al",
    "Italian": "es al tel circ ca",
    "Russian": "г гг в вв н э тыс млн млрд руб коп др тел",
}
# Its full stop does not end a sentence before a number. Other short words: `SHORT_AT_END` in sentence_words.py.
BEFORE_A_NUMBER = {
    "English": "op no nos art arts fig figs vol vols ch chap chaps sec secs sect para paras pt pts p pp par app eq"
    " eqs ref refs tel ext fax apt bldg rte tab item cap ca approx max min est suppl prop sched stat supp subsec"
    " subpara circ encl",
    "German": "nr nrn abs abschn abb art aufl bd bde kap ziff tab anm hausnr tel fax max min mind anl anh ausg",
    "French": "n no nos art chap sect fig figs vol ch p pp tél alin parag max réf env app annexe éd tabl",
    "Spanish": "n núm núms art arts fig figs vol vols cap caps pág págs p pp tel tels teléf tfno apdo párr secc inc"
    " aprox máx mín ed tab",
    "Portuguese": "n núm séc art arts fig figs vol vols cap caps pág págs p pp tel seç parág aprox máx mín ed tab",
    "Italian": "n nn sec art artt fig figg vol voll cap capp pag pagg p pp tel sez parr tav tab lett circa max ed",
    "Russian": "рис табл гл п пп с стр т тт ст см разд абз тел д кв корп оф прим изд вып ч",
}
# Dotted abbreviations that need what follows.
DOTTED = {
    "English": "e.g i.e",
    "German": "z.b d.h u.a m.e i.d.r s.o s.u v.a z.t o.g i.allg u.u",
    "French": "p.ex c.-à-d c.à.d",
    "Spanish": "p.ej p.e",
    "Portuguese": "p.ex",
    "Italian": "p.es ad.es",
    "Russian": "т.е т.к т.н т.о в.т.ч",
}
# Dotted abbreviations that end a sentence before a capital letter.
DOTTED_AT_END = "т.д т.п и.т.д и.т.п u.s.w o.ä u.ä"
HALVES_OF_A_DAY = "a.m p.m pm"

COMPANIES = "inc ltd corp co gmbh ag llc llp plc cie"
COMPANY_FORMS = "Inc Ltd Limited Corp LLC LLP PLC KG KGaA OHG AG GmbH CEO CFO CTO"
TIME_ZONES = "EST EDT ET CST CDT CT MST MDT MT PST PDT PT GMT UTC BST CET CEST MEZ MESZ JST KST IST MSK AEST AEDT"
TIME_ZONE_NAMES = "Eastern Central Mountain Pacific Greenwich"
# Units and sounds without a vowel: words, not abbreviations.
WITHOUT_VOWELS = (
    "km kg cm mm ml dm kb mb gb tb hz khz mhz ghz kw kwh mph kph tv cd dvd pc hm hmm mhm shh pst psst brr tsk pfft"
    " grr zzz nth м км кг см мм мл гр гб мб тв хм тсс"
)
HEADINGS = (
    "chapter part section book lesson unit step scene act appendix figure table day kapitel teil abschnitt lektion"
    " buch akt szene anhang chapitre partie livre leçon acte scène annexe capítulo parte sección libro lección acto"
    " escena seção livro lição ato cena capitolo sezione lezione atto scena глава часть раздел книга урок акт сцена"
    " том"
)
# After a comma they belong to the name before it.
AFTER_A_NAME = "Inc Ltd Corp LLC LLP PLC Co GmbH Jr Sr Esq Ph M III IV CEO S.A S.p.A"
