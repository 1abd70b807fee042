"""What people's texts hold beside words, kind by kind: what is spoken of it, and what looks like it and stays."""

from __future__ import annotations

import pytest

from worker.text import clean, plan

SPOKEN = {
    "reasoning": [
        ("<Think>They want tea.\n\nSo: tea.</THINK>Tea is ready.", "Tea is ready."),
        ("Let me look.\n</reasoning>\nIt is blue.", "It is blue."),
        ("One moment. <tool_call name='x'>{\"a\": 1}", "One moment."),
        ("<think>a <think>b</think> c</think>Yes.", "Yes."),
        ("<think>the tag <think> is open</think>Yes.", "Yes."),
        ("Write `<think>` first.", "Write think first."),
        ("I am <thinking about it> now.", "I am <thinking about it> now."),
    ],
    "entities": [
        ("Caf&eacute; &#x26; bar", "Café & bar"),
        ("&amp;lt;b&amp;gt;bold&amp;lt;/b&amp;gt;", "bold"),
        ("Black&White; and R&D", "Black&White; and R&D"),
    ],
    "tags": [
        ("un<b>sink</b>able and 2<sup>nd</sup>", "unsinkable and 2nd"),
        ("<ul><li>Salt</li><li>Flour</li></ul>Mix.", "Salt.\nFlour.\nMix."),
        ("Hello<!-- no --> <script>alert(1 < 2)</script>there", "Hello there"),
        ("<ruby>紅葉<rp>(</rp><rt>もみじ</rt><rp>)</rp></ruby>狩り", "紅葉狩り"),
        ("<custom>Wow</custom> and <other/> <size px='2'>big", "Wow and big"),
        ("Dear <name>, use vector<int> if a<b and c>d.", "Dear <name>, use vector<int> if a<b and c>d."),
    ],
    "lines": [
        ("She went to school in\nBergen.", "She went to school in Bergen."),
        ("rice\nred beans\noil", "rice.\nred beans.\noil"),
        ("All of the neigh-\nbours came.", "All of the neighbours came."),
        ("Nobody in the whole town knew what the old\nMill had been built for.", "Nobody in the whole town knew what"
         " the old Mill had been built for."),
        ("- Stir the soup until\n  it boils\n- Serve", "Stir the soup until it boils.\nServe."),
        ("Log in\nSign up\nSign out", "Log in.\nSign up.\nSign out"),
        ("It was bought by Fenn Ltd.\nand then sold.", "It was bought by Fenn Ltd. and then sold."),
        ("My plan\nThe first step is easy.", "My plan.\nThe first step is easy."),
    ],
    "flattened lists": [
        ("Do this: 1. Sit 2. Stand 3. Walk", "Do this:\n1. Sit.\n2. Stand.\n3. Walk"),
        ("Take • 1) milk • 2) bread", "Take.\n1) milk.\n2) bread."),
        ("用意：1. 米 2. 水", "用意：\n1. 米。\n2. 水"),
        ("The answer is: 42. Thank you.", "The answer is: 42. Thank you."),
        ("1. Look up.2. Sit down.", "1. Look up.\n2. Sit down."),
        ("Bring: (1) soap, (2) a towel, and (3) shoes.", "Bring:\n(1) soap,\n(2) a towel, and (3) shoes."),
        ("Rooms 4 and 5. Nobody is in 6.", "Rooms 4 and 5. Nobody is in 6."),
    ],
    "citations": [
        ("It is warm [3], dry[4][5] and calm.[6-8]", "It is warm, dry and calm."),
        ("Snow【9†map】 fell[^2].\n\n[^2]: In May.", "Snow fell.\nIn May."),
        ("As shown in [3], and list[0], since [1999].", "As shown in [3], and list[0], since [1999]."),
        ("Read [this page][k].\n\n[k]: https://example.com", "Read this page."),
        ("Read [this page][k].", "Read [this page][k]."),
        ("Read`rows[3]` now", "Readrows 3 now"),
        ("Owls sleep.[2](https://example.com/owl) Bats[14](https://example.com/b) fly.", "Owls sleep. Bats fly."),
        ("It rains ([3](https://example.com/r)), and snows [[4]](https://example.com/s).", "It rains, and snows."),
        ("Read [the map](https://example.com/m), see [3](https://example.com/n).", "Read the map, see [3]."),
        ("It is 7 £ [1], 8 € [2], 30 ° [3], 5 m² [4] and «far» [5].", "It is 7 £, 8 €, 30 °, 5 m² and «far»."),
        ("Let x = [1, 2] and y=[3]. Pages: [4]", "Let x = [1, 2] and y=[3]. Pages: [4]"),
        ("Proven [1]–[3], refuted [4]-[6] and [7].", "Proven, refuted."),
        ("It fell[citation needed] in May[who?] or June [note 2].", "It fell in May or June."),
        ("Er sang[Beleg fehlt], elle dort [réf. nécessaire].", "Er sang, elle dort."),
        ("They wrote[sic] it; go[ing] on.", "They wrote sic it; go[ing] on."),
    ],
    "spaced ellipsis": [("I . . . forgot . . . .", "I… forgot…"), ("Look. .env is here", "Look. .env is here")],
    "mathematics": [
        (r"So $\frac{\sqrt{x}}{2} \leq \pi$ holds.", "So square root of x over 2 less than or equal to pi holds."),
        (r"Then \(x_1 + x_2^{10}\) and \[y^2\].", "Then x 1 + x 2 to the power of 10 and y²."),
        ("It is $$a\n= b$$ here", "It is a = b here"),
        ("From $5 to $10, US$3 or 4$, R$ 20 and R$ 30", "From $5 to $10, US$3 or 4$, R$ 20 and R$ 30"),
    ],
    "decorative letters": [("𝔖𝔬 ⓝⓘⓒⓔ, 🅆🄾🅆 oﬀ x² ½ ①", "So nice, WOW off x² ½ ①")],
    "other markups": [
        ("||No|| ==yes== dis**agree**able [[A b|c d]] ![[e.png]]", "No yes disagreeable c d"),
        ("<@!112233445566> <a:wave:112233445566> hello", "hello"),
        ("---\ntitle: Pears\n---\nThey are ripe.", "They are ripe."),
        ("> [!TIP]\n> Rest.\n\n:::note\nSleep.\n:::", "Rest.\nSleep."),
        ("One part ***** another part", "One part.\nanother part"),
        ("--- One part --- another part ---", "One part — another part"),
        ("2**3**2, a == b and c == d, x || y", "2**3**2, a == b and c == d, x || y"),
    ],
    "tables": [
        ("a | b\n:-- | --:\nc | d\n\nend", "a, b.\nc, d.\nend"),
        ("tea | milk", "tea | milk"),
        ("> | day | place |\n> |---|---|\n> | May | Ulm |", "day, place.\nMay, Ulm."),
    ],
    "addresses": [
        ("See maps.example.org/a/b?c#d, or go.", "See maps.example.org, or go."),
        ("vue.js/react and/or 3/4 main.py/x", "vue.js/react and/or 3/4 main.py/x"),
    ],
    "stage directions": [
        ("[coughs twice] Hello. [nods] Bye [waves].", "Hello. Bye."),
        ("Really [gasps]? Yes.", "Really? Yes."),
        ('"[laughs] Yes," she said.', '"Yes," she said.'),
        ("He paid [the old man] well. [Ann Lee] said so.", "He paid [the old man] well. [Ann Lee] said so."),
        ("Hi. *She looks up from her book* Who is there?", "Hi. She looks up from her book. Who is there?"),
    ],
    "escaped newlines": [
        (r"Hello.\nHow are you?\n\nBye\n", "Hello.\nHow are you?\nBye"),
        (r"The sign \nu and \mu", "The sign nu and mu"),
    ],
    "characters": [
        ("Hello (^_^) there ヽ(°〇°)ﾉ", "Hello there ヽ(°〇°)ノ"),
        ("Nooooooooooooooooo 1111111111111", "Noooooooo 1111111111111"),
    ],
    "Japanese": [("薔薇（ばら）とりんご（ふじ）と京都（古い都）", "薔薇とりんご（ふじ）と京都（古い都）")],
    "code": [
        ("Try:\n```js\nlet a = 1\n```\nGood.", "Try:\nGood."),
        ("Try:\n```\nMilk.\n```\nGood.", "Try:\nMilk.\nGood."),
        ("Try:\n~~~sh\nmake", "Try:"),
        ("Type `pwd `and then` cd`, or `ls `.", "Type pwd and then cd, or ls."),
    ],
}  # fmt: skip
CASES = [
    pytest.param(text, spoken, id=f"{kind}-{n}") for kind, of in SPOKEN.items() for n, (text, spoken) in enumerate(of)
]


@pytest.mark.parametrize(("text", "spoken"), CASES)
def test_a_listener_hears_the_words_alone(text: str, spoken: str) -> None:
    assert clean(text, "English") == spoken


@pytest.mark.parametrize(("text", "spoken"), CASES)
def test_what_a_listener_hears_is_clean(text: str, spoken: str) -> None:
    assert clean(spoken, "English") == spoken


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("German", "Wir fahren morgen mit\nAnna weg.", "Wir fahren morgen mit Anna weg."),
        ("French", "Il habite près de\nNice.", "Il habite près de Nice."),
        ("Russian", "Она живёт в\nТвери.", "Она живёт в Твери."),
        ("German", "Vom 1. Mai bis 2. Juni, vgl. [3].", "Vom 1. Mai bis 2. Juni, vgl. [3]."),
        ("Italian", "Vedi [3] e il lago [4].", "Vedi [3] e il lago."),
        ("Spanish", "camisa\nfalda", "camisa.\nfalda"),
        ("Korean", "강은 길다[1]. [웃음] 좋아요.", "강은 길다. 좋아요."),
        ("Chinese", "步骤：1、洗米 2、加水", "步骤：\n1、洗米。\n2、加水"),
    ],
)
def test_words_of_the_language_decide(language: str, text: str, spoken: str) -> None:
    assert clean(text, language) == spoken


def test_actions_are_left_out_where_the_card_wishes_so() -> None:
    text = "*waves* Good morning. *She sits down.* How *are* you?"
    assert clean(text, "English", "skip") == "Good morning. How are you?"
    assert [piece.spoken for piece in plan(text, "English", {}, "skip")] == ["Good morning. How are you?"]
    assert clean(text, "English") == "waves. Good morning. She sits down. How are you?"


@pytest.mark.parametrize(
    "mark",
    [
        "[", "](", "<", "<a ", "<b x='", "<think>", "</think>", "<!--", "<script>", "<rt>", "</x>", "<x>", "$",
        "$x$", "\\(", "\\[", "\\", "\\frac{", "{", "\\begin{a}", "&amp;", "*", "_a", "`", "``a", "||", "==a", "[[",
        "![[", "a|\n", "1. a 2. ", "• ", " [1]", "[^1]", "[a]: http://a\n", "[a][b]", "【1", "^^^^ ", "- ", "a\n",
        ". . ", "a", "漢（あ", "《", "\\n", "---\na: b\n", "> ", "http://", "a.", "a-", "[a b] ", "*a b* ", "<@1", "^{",
        "\u0301", "~~~\n", "```a\n", "([", "1,", "[1](", "[1](.", "[1]-", "> |", "--- ", "a[bcd", "Ltd.\nand ",
    ],
)  # fmt: skip
def test_a_hundred_thousand_marks_are_cleaned_once_and_for_all(mark: str) -> None:
    cleaned = clean(mark * (100_000 // len(mark)), "English")
    assert clean(cleaned, "English") == cleaned


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        (
            "Japanese",
            "昨日は雨で、駅前の店まで\n傘を買いに行った。",
            "昨日は雨で、駅前の店まで傘を買いに行った。",
        ),
        ("Japanese", "こんばんは\n調子はどうですか。", "こんばんは。 調子はどうですか。"),
        ("Korean", "우리는 어제 새 책을\n읽었습니다.", "우리는 어제 새 책을 읽었습니다."),
        ("Chinese", "他买了面包和\n牛奶。", "他买了面包和牛奶。"),
        ("German", "Der Video-\nRecorder steht im Keller.", "Der Video-Recorder steht im Keller."),
        ("English", "[slowly, with tears] I will go.", "I will go."),
        ("English", "All set :rocket: for launch :+1:!", "All set for launch!"),
        ("English", "The odds are 5:2 at 11:40:05.", "The odds are 5:2 at 11:40:05."),
    ],
)
def test_broken_lines_directions_and_shortcodes_in_other_spellings(language: str, text: str, spoken: str) -> None:
    assert " ".join(piece.spoken for piece in plan(text, language, {})) == spoken
