"""Where a sentence ends and where it goes on, in ten languages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.text import plan, split
from worker.text.boundary import Language, Rank, marks

CLOSING = ".,;:!?…»”’)]}、。，；：！？」』）】》"


def sentences(text: str, language: str) -> list[str]:
    """The text at its sentence boundaries outside quotations and brackets."""
    found, at = [], 0
    for end, rank, since in marks(text, len(text), Language(language)):
        if rank is Rank.SENTENCE and since < 0:
            found.append(text[at:end].strip())
            at = end
    return found + [text[at:].strip()] * (at < len(text))


def ends(text: str, language: str, wanted: Rank) -> list[str]:
    """The text up to each boundary of one rank."""
    return [text[:end] for end, rank, _ in marks(text, len(text), Language(language)) if rank is wanted]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("English", "Our guide was Prof. Lindqvist from the museum."),
        ("English", "Ask J. R. Whitby or the U.S. Embassy about it."),
        ("English", "See para. 4, app. C and vol. II of the report."),
        ("English", "Call ext. 42 or rm. 7 if the lift is stuck."),
        ("English", "The Min. & Res. fund paid for the bridge."),
        ("English", "Okafor et al. (2016) counted the herons."),
        ("English", "Harbour Lamps, Ltd. sells them, and Fenn Corp. too."),
        ("English", "Flight no. LH 441 and cat. no. B12 are listed there."),
        ("English", "Chapter 7. The Glass Bridge."),
        ("English", "We bought it on 14. Feb. 2023 in Bern."),
        ("German", "Die Straße, vgl. Abb. 4 auf S. 12, ist z. B. im Winter zu."),
        ("German", "Am 3. März kam Fr. Dr. Voss mit der Fa. Kern & Co. KG."),
        ("German", "Dipl.-Ing. Kurz und Dr. med. Ohm wohnen in der Seestr. 5."),
        ("German", "Am 7. Dez. 2021 und am 12. 5. 2022 war d. h. geschlossen."),
        ("French", "M. Le Brun et Mme Roy lisent p. ex. Racine, chap. 3, p. 41."),
        ("French", "Appelez le tél. 01 44 avant le 3 janv. 2024 ou le 4 juill. 2025."),
        ("English", "The crate weighs 3 lbs. 4 oz. and is 6 ft. 2 in. long."),
        ("Spanish", "La Sra. Ibáñez vive en la Av. Colón, núm. 8, en EE. UU. desde 2011."),
        ("Spanish", "Véase la pág. 5 y el art. 9 del 3 de sept. de 2020."),
        ("Portuguese", "O Dr. Pires mora na Av. Brasil, n. 12, tel. 21 334."),
        ("Italian", "Il Sig. Conti legge a pag. 7, cap. 2, p. es. Dante."),
        ("Russian", "А. П. Волков живёт на ул. Садовой, д. 5, кв. 12."),
        ("Russian", "См. рис. 4 на стр. 18, т. е. Байкал в 1998 г. зимой."),
        ("Korean", "2024. 5. 3. 서울에서 만나요."),
    ],
)
def test_a_full_stop_after_an_abbreviation_ends_no_sentence(language: str, text: str) -> None:
    assert len(sentences(text, language)) <= 1 + (language == "Korean")


@pytest.mark.parametrize(
    ("language", "text", "n"),
    [
        ("English", "We waited for him. 20 minutes later it rained.", 2),
        ("English", "They live in the U.S. They like it.", 2),
        ("English", "The red team scored 3. Nobody cheered.", 2),
        ("English", "The red team scored 3. So the blue team lost.", 2),
        ("English", "Take vitamin C. It helps. She works for Fenn Inc. The pay is good.", 4),
        ("English", "It opened in 1990. Later it closed. The end of Main St. The bakery.", 4),
        ("German", "Es war der 3. Danach kam keiner. Er kauft Obst usw. Dann geht er.", 4),
        ("German", "Siehe Kap. 3. Lies Seite 5. Morgen um 9 Uhr. 3 Leute kommen.", 4),
        ("French", "J.-P. Roux est né en 1970. Il peint.", 2),
        ("French", "Il est né en 1990. Ensuite il partit. C'est lui. 5 hommes vinrent.", 4),
        ("Spanish", "Eso es así. 5 personas vinieron. Vive en EE. UU. Le gusta.", 4),
        ("Portuguese", "Foi ele. 5 pessoas vieram. O fim.", 3),
        ("Italian", "Era lui. 5 persone vennero. Poi andò via.", 3),
        ("Chinese", "他叫J. K. Lind。A. 甲。", 2),
        ("Russian", "Доска 5 см. Потом другая.", 2),
        ("Russian", "Это был он. 5 человек пришли. В 1998 г. Он уехал. И т. д. Потом ушёл.", 6),
    ],
)
def test_a_full_stop_ends_a_sentence_where_the_next_word_begins_one(language: str, text: str, n: int) -> None:
    assert len(sentences(text, language)) == n


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("The ferry leaves at 7 a.m. We sleep on board.", 2),
        ("The ferry leaves at 7 a.m. So we sleep on board.", 2),
        ("The ferry leaves at 7 a.m. Wednesday.", 1),
        ("The ferry leaves at 7 p.m. March 4.", 1),
        ("The call is at 7 p.m. GMT on channel four.", 1),
        ("The call is at 7 p.m. Pacific Time.", 1),
        ("The bus goes at 7 a.m. 8 a.m. and noon.", 1),
        ("Lunch is at 1 p.m. near the harbour.", 1),
    ],
)
def test_half_a_day_ends_a_sentence_unless_the_time_goes_on(text: str, n: int) -> None:
    assert len(sentences(text, "English")) == n


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("English", '"Is it far? I am tired." asked Ben.'),
        ("English", "“Is it far? I am tired,” Ben said."),
        ("English", '"Come in!" Ruth called.'),
        ("English", '"Come in!" Mr. Fenn said.'),
        ("English", "He left (The lamp was off. Nobody saw.) by the back door."),
        ("English", "They agreed. [The vote was close.] (See the minutes.)"),
        ("German", "„Ist es weit? Ich bin müde.“ fragte Ben."),
        ("German", "»Ist es weit? Ich bin müde.« fragte Ben."),
        ("French", "« C'est loin ? Je suis las ! » demanda Luc."),
        ("Spanish", "«¿Está lejos? Ya no puedo.» preguntó Luis."),
        ("Spanish", "—¿Está lejos? —preguntó Luis."),
        ("English", "‘Is it far? I’m tired.’ asked Ben."),
        ("French", "— C'est loin ! dit Luc."),
        ("Portuguese", '"É longe? Estou cansado." perguntou Rui.'),
        ("Italian", "«È lontano? Sono stanco.» chiese Ugo."),
        ("Russian", "«Это далеко? Я устал.» — спросил Юрий."),
        ("Chinese", "“远吗？我累了。”小王问道。"),
        ("Chinese", '"远吗？我累了。"他说。'),
        ("Japanese", "「遠いですか？疲れました。」と彼が聞いた。"),
        ("Japanese", "『道。橋。』という歌です。"),
        ("Korean", '"멀어요? 힘들어요."라고 물었다.'),
        ("Korean", "“멀어요? 힘들어요.” 민수가 물었다."),
    ],
)
def test_a_sentence_goes_on_after_its_quotation_or_bracket(language: str, text: str) -> None:
    assert len(sentences(text, language)) == 1 + text.startswith("They")


@pytest.mark.parametrize(
    ("language", "text", "n"),
    [
        ("English", '"Is it far?" Ben ran ahead. "Yes." She sat down.', 4),
        ("English", "They agreed. (The vote was close.) Then it rained.", 3),
        ("English", 'The sign read “Stop.” Then we saw the 19" screen. It was on.', 3),
        ("English", "What a day :( Then it rained. The boys' tent was wet. It leaked.", 3),
        ("German", "„Ja. Ich komme.“ Er ging. Sie las »Faust.« Dann schlief sie.", 4),
        ("French", "« C'est loin ? » Luc courut. Il cria « Oui ! » Puis il rit.", 4),
        ("Chinese", "他说“好。”大家走了。“远吗？”大家笑了。", 4),
        ("Japanese", "「遠い。」「近い。」彼は笑った。", 3),
        ("Korean", '"네." 그는 갔다.', 2),
    ],
)
def test_a_sentence_may_end_with_its_quotation(language: str, text: str, n: int) -> None:
    assert len(sentences(text, language)) == n


@pytest.mark.parametrize("number", ["1.", "12.", "II.", "1)", "(2)", "b)"])
@pytest.mark.parametrize("before", ["", "We need:\n", "We need a rope.\n", "We need: ", "We need a rope. "])
def test_no_cut_follows_the_number_of_an_item(number: str, before: str) -> None:
    text = f"{before}{number} Fold the sheet"
    ranks = {end: rank for end, rank, _ in marks(text, len(text), Language("English"))}
    end = text.index(" Fold")
    assert end not in ranks
    assert ranks.get(end + 1, Rank.TIGHT) is Rank.TIGHT


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("English", "We sang at a fair in Dunedin, N.Z."),
        ("English", "They moved to Moscow, Idaho, in spring"),
        ("English", "On May 4, 2019, it rained"),
        ("English", "The shop of Harbour Lamps, Ltd. is shut"),
        ("English", '"Come in," said Ruth'),
        ("German", "„Komm herein“, sagte Ruth"),
        ("English", "In St. Cloud, Minn., it snowed"),
        ("French", "« Entrez », dit Luc"),
        ("Spanish", "—Hola —dijo Ana"),
        ("French", "Le lundi, 4 mai 2019, il plut"),
        ("Russian", "«Входи!» — сказала Рут"),
    ],
)
def test_a_mark_within_a_date_a_place_or_a_quotation_ends_no_clause(language: str, text: str) -> None:
    assert all(found.endswith("lundi,") for found in ends(text, language, Rank.CLAUSE))


def test_a_comma_that_closes_a_date_or_a_place_ends_the_first_segment_where_no_other_fits() -> None:
    text = "On June 24, 2019, {} nobody in the valley expected that the old bridge would be closed for so many years"
    assert split(text.format("it rained, and") + ", or so they say.", "English")[0].endswith("it rained,")
    assert split(text.format("when") + ", or so they say.", "English")[0] == "On June 24, 2019,"


def test_the_number_of_a_chinese_item_is_no_clause() -> None:
    assert ends("准备：1、米，2、水，十一、火", "Chinese", Rank.CLAUSE) == [
        "准备：",
        "准备：1、米，",
        "准备：1、米，2、水，",
    ]


def test_the_last_clause_that_fits_ends_the_first_segment() -> None:
    text = "When it rained, the children stayed in, and they read until the lamps went out on every floor of the house."
    assert split(text, "English")[0] == "When it rained, the children stayed in,"


def test_a_segment_that_begins_with_a_german_guillemet_begins_with_a_quotation_mark() -> None:
    spoken = [segment.spoken for segment in plan("»Ist es noch weit?« Er lief weiter. »Ja.«", "German", {})]
    assert spoken[0].startswith('"Ist es noch weit?"')


def test_a_bracket_that_never_closes_stops_no_cut_for_long() -> None:
    text = "He said (and I quote: " + "The lamp went out again. " * 40
    assert len(split(text, "English")) > 5


def test_a_blank_before_a_mark_belongs_to_it() -> None:
    text = "Il demanda encore : « " + "mot " * 90 + "? » " + "Elle rit ! " * 30
    assert not any(segment.startswith(tuple(CLOSING)) or segment.endswith("«") for segment in split(text, "French"))


ITEMS = [
    "word", "Word", "they", "Dr.", "5", "2019", "U.S.", "z. B.", "3.5", "end.", "End!", "why?", "so…", "but,", "so:",
    "« oui »", "« non ! »", "“yes.”", '"no."', "(aside.)", "[see it]", "„doch.“", "»nein«", "「はい。」", "（注）",
    "本。", "说：“好。”", "— да", "\n",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(ITEMS), max_size=80), st.sampled_from(["English", "French", "Chinese", "Auto"]))
def test_no_segment_begins_with_a_closing_mark_or_ends_with_an_opening_one(items: list[str], language: str) -> None:
    for segment in split(" ".join(items), language):
        assert not segment.startswith(tuple(char for char in CLOSING if char != "»"))
        assert not segment.startswith("» ")
        assert not segment.endswith(tuple("([{「『（„"))
