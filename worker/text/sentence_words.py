"""Words that begin a sentence, short words that may end one, and the calendar's words.

A function word with a capital letter begins a sentence in each of these languages. So it decides after an abbreviation
that may end a sentence.
"""

from __future__ import annotations

FIRST_WORDS = {
    "English": "the a an he she it they we i you this that these those there his her its their our my your but and"
    " or so yet if when while after before since because although though however meanwhile then now here what who"
    " why how where which is are was were did do does in on at for from with by as once soon later today tomorrow"
    " yesterday nobody everyone everybody someone somebody everything nothing all both each some many most not yes"
    " please let perhaps maybe never always even only just instead still also no",
    "German": "der die das den dem des beim zum vom zur ins ab bis jeder jeden jedem ein eine einen einem einer er"
    " sie es wir ich ihr man dies diese dieser dieses und aber doch oder denn dann da dort hier heute gestern morgen"
    " jetzt nun wenn als ob weil obwohl nach vor bei mit zu in im am an auf aus für um über unter seit während"
    " danach trotzdem deshalb also auch nicht nur niemand alle viele wer was wo wie warum sein seine ihre mein meine"
    " unser bitte so zwei drei keiner jeder später bald",
    "French": "le la les l' un une des il elle ils elles on nous vous je j' tu ce c' cet cette ces mais et ou donc"
    " or si quand lorsque puis alors après avant pendant depuis dans en sur sous avec pour par chez son sa ses leur"
    " leurs mon ma mes notre votre aujourd'hui hier demain ensuite enfin ainsi aussi comme qui que quoi où pourquoi"
    " comment tout tous toute personne rien quelques plusieurs à au aux ici là non oui",
    "Spanish": "el la los las lo un una unos unas él ella ellos ellas yo tú usted ustedes nosotros esto este esta"
    " estos ese esa eso aquel aquella pero y o si cuando mientras después antes luego entonces ahora hoy ayer mañana"
    " aquí allí también no sí en con por para desde hasta sobre entre sin según durante su sus mi mis tu tus se me"
    " te le les nos al del como porque aunque que qué quién cómo dónde nadie nada todo todos cada hay",
    "Portuguese": "o a os as um uma ele ela eles elas eu você vocês nós isto este esta esse essa isso aquele mas e"
    " ou se quando enquanto depois antes então agora hoje ontem amanhã aqui ali também não sim em no na nos nas com"
    " por para desde até sobre entre sem durante seu sua meu minha ao como porque embora que quem onde ninguém nada"
    " tudo todos cada há",
    "Italian": "il lo la i gli le l' un uno una lui lei loro io tu noi voi egli essa questo questa questi quello"
    " quella ma e o se quando mentre dopo prima poi allora ora oggi ieri domani qui lì anche non sì in con per su"
    " tra fra senza durante suo sua mio mia nel nella al alla dal dalla come perché benché che chi dove nessuno"
    " niente tutto tutti ogni c'",
    "Russian": "он она оно они мы вы я ты это этот эта эти тот та те но и а или если когда пока после до потом затем"
    " теперь сейчас сегодня вчера завтра здесь там также не нет да в на с со у к ко по о об от из за под над при"
    " через без для его её их мой наш ваш свой как потому хотя что кто где почему никто ничего все всё каждый один"
    " тогда однако",
}
# Of these, the ones that a name may have after an initial: J. La Rue.
IN_NAMES = "le la les los las el del di da do a o e de des"

# Words of up to three letters that may end a sentence. Any other such word before a number is an abbreviation.
SHORT_AT_END = {
    "English": "it me him her us you he she we one two six ten all any few own too so not now yet ago out up in on"
    " off by to at as is am are was did do had has be go got get let see saw say men man boy dad mom mum son kid guy"
    " day way car bus bed box bag cup dog cat cow pig hen egg ice sea sun sky air war law job end top red bad old"
    " new big low far fun gas oil pay tax age bar bay bet bit buy cry cut die dry due ear eat ego era eye fan fat"
    " fee fit fix fly for fox gap gun hat hit hot how hug ill ink inn jam jar jet key kit lab lad lap leg lie lip"
    " lot map mud net nut odd pan pen pet pie pin pit pot pub put raw rib rid row rug run sad sat set shy sin sir"
    " sit tea tie tip toe try van via wet who why win yes zoo aid aim act add ad arm ash ask ate axe ban bat bee beg"
    " bid bug cop cue dam dig dim dip dot eve fed fog god gym ham hay hid hip his hop icy its jaw jog joy led lid"
    " log mad mat mix mob mop nap nod nor nun oak paw pea pop rat ray rip rob rod rot rub sip ski sow spy sum tan"
    " tap tar tin ton toy tub tug use vow wag wax web wed wig won or an the and but if my our per i ok may sew",
    "German": "er sie es ich du wir ihr uns mir dir ihm ihn an auf aus bei mit zu vor ab um ein da so ja gut alt neu"
    " rot tag ort weg see tor uhr hof rad zug bus hut arm bad bau eis tee tür not mut rat ruf ton zoo ehe eid amt"
    " bar ei fuß gas hai ist war hat bin sei tun sah kam los nur nun nie wer was wo wie nah oft man als ob und den"
    " dem des der die das im am zum vom mal bis hin her rum gar eng uni app pc tv km kg cm mm m l h akt ast bug dom"
    " öl",
    "French": "il on je tu moi toi lui eux le la les un une en y là ici pas oui non ou où ça si né an ans mer ami"
    " air eau feu jeu roi loi foi sol ski vin thé lit mot nom nez œil bas bon dur fin gai nu vu lu su pu eu été dit"
    " mis va as a est ont bus tir cri pré gel sel mal vie rue vue nue due pie oie fée car peu tôt hui dos fil fou"
    " mou sac sec bec lac arc art jus pus tas cas bal but qui que km kg cm m",
    "Spanish": "él yo tú mí ti sí no ya más mal así fue era hay ser ver dar ir voy vas va dos uno una día año mes"
    " sol mar luz paz rey ley red voz vez pan té pie río tío tía ojo oro ola eso esa ese lo la le los las me te se"
    " nos os su mi tu es soy son vi dio di ve oí aún hoy fin bar gas gol oso uva ala ajo que con por sin al del en a"
    " y o u ni km kg cm m",
    "Portuguese": "ele ela eu tu nós mim ti si sim não já mal bem aí lá cá foi era há ser ver dar ir vou vai um uma"
    " dia ano mês sol mar luz paz rei lei voz vez pão chá pé rio tio tia mão pai mãe céu meu seu teu lhe me te se"
    " vos fim bar gás gol boa bom má mau nu só sul avó avô que com por sem os as o a e ou em de do da km kg cm m",
    "Italian": "lui lei io tu noi voi me te sé sì no già più mai poi ora qui qua lì là su giù due tre sei uno una dì"
    " re tè zia zio mio tuo suo mia tua sua fa va sa ha ho hai è era fu può sta dà do so bar gas età via blu oro ape"
    " uva amo gru che chi con per il lo la le gli di da in e o a al km kg cm m",
    "Russian": "он она мы вы я ты это его её их ему ей им мне вам нам нас вас да нет не так там тут уж уже ещё два"
    " три раз год дом лес мир сон час лет век дед кот пёс суд еда чай сыр лёд мёд нос рот лоб бок дно зал ряд сад"
    " том мяч ум ход шаг шум был жил ел пил шёл вот все всё кто что где как за на по из до от о об и а но или ли же"
    " бы км кг см м",
}

# Weekdays and months of all languages with alphabets, in full and abbreviated.
CALENDAR = (
    "monday tuesday wednesday thursday friday saturday sunday mon tue tues wed weds thu thur thurs fri sat sun"
    " january february march april may june july august september october november december jan feb mar apr jun jul"
    " aug sep sept oct nov dec montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag mo di mi do fr"
    " sa so januar jänner februar märz mai juni juli oktober dezember mrz okt dez jän lundi mardi mercredi jeudi"
    " vendredi samedi dimanche lun mer jeu ven sam dim janvier février mars avril juin juillet août septembre"
    " octobre novembre décembre janv févr fév avr juil juill déc lunes martes miércoles jueves viernes sábado"
    " domingo mié jue vie sáb dom enero febrero marzo abril mayo junio julio agosto septiembre setiembre octubre"
    " noviembre diciembre ene abr ago dic segunda-feira terça-feira quarta-feira quinta-feira sexta-feira segunda"
    " terça quarta quinta sexta seg ter qua qui sex janeiro fevereiro março maio junho julho setembro outubro"
    " novembro dezembro fev mai set out lunedì martedì mercoledì giovedì venerdì sabato domenica gio gennaio"
    " febbraio aprile maggio giugno luglio settembre ottobre novembre dicembre gen mag giu genn febbr magg lugl lug"
    " ott понедельник вторник среда четверг пятница суббота воскресенье пн вт ср чт пт сб вс января февраля марта"
    " апреля мая июня июля августа сентября октября ноября декабря январь февраль март апрель май июнь июль август"
    " сентябрь октябрь ноябрь декабрь янв фев апр авг февр сен сент окт ноя нояб дек"
)
