"""UI texts in Japanese: the same names and {placeholders} as in en.py. Prompts stay in English."""

TAGLINE = "写真の中のオブジェクトを選択して抽出し、新しい場面の画像を生成します。"

# Base model
TOYBOX_BANNER = (
    "<b>ベースモデル：トイボックス</b>（このアプリに付属する小さなモデル）。おもちゃのようなオブジェクトの小さな画像を生成します。"
    "数分でひととおり試せますが、実際に撮影した写真には向きません。"
)
BASE_BANNER = "<b>ベースモデル：{name}</b>。{size} × {size} ピクセルの画像を {device} で生成します。"
SWITCH_TITLE = "別のベースモデルを使う"
BASE_INFO = (
    "画像はベースモデルが生成します。実際に撮影した写真には Stable Diffusion のモデルを選んでください。"
    "オブジェクトセットは、抽出に使ったベースモデルでのみ使えます。"
)
BASE_FIXED = (
    "このホストでは、ページからベースモデルを変更できません。"
    "管理者は <code>BREAKASCENE_BASES</code> で変更を許可できます。"
    "お使いのコンピューターでは <code>python app.py</code> でスタジオを起動してください。"
)
BASE_CURRENT = "{name}（使用中）"
BASE_NEEDS_CPU = "どのコンピューターでも動作します。"
BASE_NEEDS_GPU = "メモリ {gigabytes} GB 以上の GPU が必要です。"
BASE_NO_GPU = "このコンピューターには GPU がないため、非常に時間がかかります。"
BASE_SIZE, BASE_DOWNLOAD = "{gigabytes:.1f} GB", "初回に {gigabytes:.1f} GB をダウンロード"
BASE_DOWNLOAD_UNKNOWN = "初回にダウンロード"
BASE_LICENSE = "ライセンス：{license}"
BASE_HUB_ID = "または Hugging Face Hub の別のモデル"
BASE_HUB_ID_INFO = (
    "「所有者/モデル」の形式で入力します。重みが .safetensors 形式の Stable Diffusion 1.x、2.x、SDXL に対応しています。"
    "ダウンロードの前にライセンスをご確認ください。"
)
BASE_USE = "このベースモデルを使う"
BASE_DOWNLOADING = (
    "{name} をダウンロードしています（{share:.0%}）。完了するまで、現在のベースモデルで作業を続けられます。"
)
BASE_SWITCHING = "{name} を読み込んでいます。準備ができると、ページが再読み込みされます。"
BASE_FAILED = "{name} は使用されていません。{error}"
RUN_BASE = "ベースモデル：{name}"
RUN_OTHER_BASE = (
    "このオブジェクトはベースモデル {name} で抽出されました。画像を生成するには、ページの上部でこのモデルを選ぶか、"
    "もう一度抽出してください。"
)
SEGMENTER_DOWNLOADING = (
    "高精度なマスクのためのモデル SAM {name} をダウンロードしています（{share:.0%}）。"
    "完了するまでは小型のセグメンターを使い、完了すると自動で切り替わります。"
)
DOWNLOAD_RETRIED = "ダウンロードは自動的にも再試行されます。"
JUDGE_DOWNLOADING = (
    "評価のためのモデル {name} をダウンロードしています（{share:.0%}）。"
    "完了するまではトイボックスの判定モデルを使い、完了すると自動で切り替わります。"
)

LOADING = "読み込んでいます…"

# 1 Select
TAB_SELECT = "1 · 選択"
SAMPLES = "サンプルで試す"
SAMPLE_NAMES = {
    "cupcake-crown-and-teddy-bear": "カップケーキと王冠とテディベア",
    "flamingo-and-cactus": "フラミンゴとサボテン",
    "teapot-and-owl": "ティーポットとフクロウ",
    "tractor-and-snowman": "トラクターと雪だるま",
}
UPLOAD = "自分の写真を使う"
UPLOAD_HINT = "ここに写真をドロップ、貼り付け、またはクリックして選択"
TOOL = "ツール"
TOOLS = [
    ("含める", "include"), ("除外", "exclude"), ("ボックス", "box"), ("ブラシ", "paint"), ("消しゴム", "erase"),
    ("トリミング", "crop"),
]  # fmt: skip
STROKE_WIDTH = "線の太さ（写真に対する %）"
UNDO, REDO, CLEAR = "元に戻す", "やり直す", "クリア"
INVERT = "これ以外"
MASK_FILES = "マスクのファイル"
MASK_FORMAT = "形式"
MASK_FORMATS = {
    "scene": "マスクと名前",
    "cutouts": "切り抜き",
    "onetrainer": "OneTrainer",
    "coco": "COCO（JSON）",
}
DOWNLOAD_MASKS, IMPORT_MASKS = "マスクを保存（zip）", "マスクを読み込み"
ROTATE = "写真を回転"
CANVAS = "写真とマスク"
ZOOM = {"+": "拡大", "−": "縮小", "⤢": "全体を表示"}
SMALLER_AREA, LARGER_AREA = "範囲を狭める", "範囲を広げる"
COORDINATES = "座標で指定する"
COORDINATES_X, COORDINATES_Y = "左からのピクセル数", "上からのピクセル数"
COORDINATES_APPLY = "ツールを適用"
MASK_AREAS = "写真に占める割合：{shares}"
FIND_OBJECTS = "自動で検出"
SAMPLE_MASKS = "サンプルのマスク"
PROPOSALS = "検出結果です。使うものをクリックしてください。"
NO_PROPOSALS = "この写真ではオブジェクトを自動検出できませんでした。直接クリックして選択してください。"
ADD_OBJECT = "オブジェクトを追加"
SELECTED_OBJECTS = "選択したオブジェクト"
NAME_HINT = "名前（英語、例：fox）"
INNERMOST = "内側のオブジェクトを優先"
INNERMOST_INFO = "物の中の物や表面の模様など、重なった部分を小さいほうのオブジェクトだけに含めます。"
BACKGROUND = "背景も抽出する"
BACKGROUND_INFO = "オブジェクトの周囲の背景にもハンドルを割り当てます。"
OTHER_PHOTO = "別の写真を選ぶ"
RESTORE_PHOTO = "←  前の写真に戻る"
TO_EXTRACT = "次へ：抽出  →"
DOWNLOAD_CUTOUTS = "切り抜きを保存"

HINT_START = "サンプルを選ぶか、写真をアップロードしてください。"
HINTS = {
    "include": "写真の中の「{object}」をクリックしてください。",
    "exclude": "マスクのうち「{object}」ではない部分をクリックしてください。",
    "box": "「{object}」を囲むようにドラッグしてください。",
    "paint": "「{object}」の上をドラッグすると、マスクに追加されます。",
    "erase": "「{object}」のマスクから除く部分をドラッグしてください。",
    "crop": "写真の残したい部分を囲むようにドラッグしてください。",
}
HINT_CORNER = "反対側の角をクリックしてください。"
HINT_STRUGGLES = (
    "このオブジェクトはうまく選択できないようです。ボックスで囲む、ブラシと消しゴムで直す、写真を近くでトリミングする、"
    "よりはっきり写った写真を使う、などをお試しください。"
)
HINT_LARGER_SEGMENTER = "内蔵のセグメンターは小型です。Meta の SAM モデル（BREAKASCENE_SAM）を使うと精度が上がります。"
HINT_SELECTED = "足りない部分はもう一度クリックします。よければ名前を付け、オブジェクトを追加するか、次に進みます。"
OBJECT_NUMBER = "オブジェクト {n}"

# Before something is deleted
DELETE, CANCEL = "削除", "キャンセル"
CONFIRM_DELETE_SET = "オブジェクトセット「{name}」を削除しますか？ 画像は残ります。この操作は元に戻せません。"
CONFIRM_DELETE_EXTRACTION = "この抽出と途中までの結果を削除しますか？ この操作は元に戻せません。"
CONFIRM_DELETE_IMAGE = "この画像を削除しますか？ この操作は元に戻せません。"
CONFIRM_DELETE_IMAGES = "選択した {n} 枚の画像を削除しますか？ この操作は元に戻せません。"

# 2 Extract
TAB_EXTRACT = "2 · 抽出"
EXTRACT_EMPTY = "オブジェクトが選択されていません。1 に戻って、写真の中のオブジェクトをクリックしてください。"
EXTRACT_INFO = "選択したオブジェクトでベースモデルを追加学習し、プロンプトで使うハンドルを割り当てます。"
PRESET = "プリセット"
PRESETS = {
    "light": ("ライト", "最もよく似た結果が得られます。トイボックスでは単体の正解率 88\u00a0%"),
    "quick": ("クイック", "まず試すときに。時間はライトの約 4 分の 1 です。トイボックスでは単体の正解率 70\u00a0%"),
    "paper": (
        "論文",
        "比較用。論文どおりの方法で、最も時間がかかります。"
        "トイボックスでは、4 分の 1 のステップ数で単体の正解率 33\u00a0%",
    ),
}
PRESET_TIME = "このマシンで{time}"
PRESET_TOO_LONG = "この Space の制限時間を超えます"
MEMORY_MODE_CHANGED = (
    "メモリが不足したため、使用量の少ない低速なモードで抽出を続けています。ここまでの結果は失われていません。"
)
PRESET_MEMORY = "メモリ {gigabytes:.1f} GB"
ADVANCED = "詳細設定"
STEPS_PHASE_1 = "第 1 段階のステップ数（ハンドルのみ）"
STEPS_PHASE_2 = "第 2 段階のステップ数（ハンドルとモデル）"
STEPS_INFO = "空欄の場合はプリセットの値を使います。"
SEED = "シード"
EXTRACT = "抽出"
EXTRACT_AGAIN = "もう一度抽出"
STOP = "停止"
STOPPING = "停止しています…"
RESUME = "再開"
PREVIEW_NOW = "今すぐプレビュー"
DELETE_EXTRACTION = "この抽出を削除"
OTHER_DEVICE = "別の端末で続ける"
SESSION_LINK = "このセッションのリンク"
SESSION_LINK_INFO = "ページを閉じてもジョブは続きます。このリンクをどの端末で開いても、続きから操作できます。"
SESSION_LINK_HINT = (
    "リンクは他人に知らせないでください。リンクを知っている人は、写真と画像を見ることができます。"
    "別の端末から開くには、<code>--host 0.0.0.0</code> を付けてスタジオを起動します。"
)
INTERRUPTED = "抽出が終わる前にスタジオが終了しました。写真とマスクは残っています。もう一度抽出してください。"
INTERRUPTED_RESUMABLE = (
    "抽出が終わる前にスタジオが終了しました。写真とマスク、途中までの結果の大部分は残っています。再開してください。"
)
TO_GENERATE = "次へ：生成  →"

WAITING = "待ち順は {n} 番目です。ジョブは自動で始まります。ページを閉じて、あとで戻ることもできます。"
STARTING = "準備しています…"
JOB_KINDS = {"extract": "抽出", "generate": "画像", "evaluate": "評価", "export": "書き出し", "pilot": "パイロット"}
QUEUE_POSITION = "待ち順 {n} 番目"
STARTS_IN = "開始まで{time}"
PHASE = {1: "第 1 段階：ハンドルを学習しています", 2: "第 2 段階：ハンドルとモデルを学習しています"}
GROUP = "グループ {n} / {count}、{phase}"
GROUPS_INFO = (
    "オブジェクトが {most} 個を超えるため、近くにあるもの同士 {count} グループに分けて順に抽出し、"
    "1 つのオブジェクトセットとして使えるようにします。"
)
GENERATING_PRIOR = "第 2 段階の準備：参照画像を生成しています…"
TIME_LEFT = "残り{left}"
MINUTES, SECONDS = "約 {n} 分", "約 {n} 秒"
LIST_SEPARATOR = "、"
EXTRACTED = "完了しました。"
COMPARING = "結果を写真と比較しています…"
SENTENCE_SEPARATOR = ""
VERDICTS = {
    "right": "よく似ています：{names}。",
    "partly": "一部だけ似ています：{names}。",
    "unrecognizable": "判別できません：{names}。",
    None: "写真と見比べてください：{names}。",
}
VERDICT_LEVELS = {"right": "よく似ています", "partly": "一部だけ似ています", "unrecognizable": "判別できません"}
VERDICT_CAPTION = "左：写真。右：同じオブジェクトを新しく生成した画像。"
CUTOUT = "写真の切り抜き"
HELP_TITLE = "改善するには："
HELP_BASE = (
    "実際に撮影した写真には、Stable Diffusion などのベースモデルを使います（上の「別のベースモデルを使う」を参照）。"
)
HELP_MASK = "1 でマスクを確認します。オブジェクト全体だけを、過不足なく選択してください。"
HELP_LIGHT = "「ライト」でもう一度抽出します。"
UNFAMILIAR_PHOTO = (
    "この写真は、現在のベースモデルが学習したおもちゃ風の画像と大きく異なるため、生成した画像はほとんど似ません。"
    "実際に撮影した写真には、Stable Diffusion などのベースモデルを使ってください"
    "（上の「別のベースモデルを使う」を参照）。"
)
STOPPED_KEPT = "{total} ステップ中 {step} で停止しました。ここまでの結果は保存され、使用できます。"
STOPPED_EARLY = "最初のステップの前に停止しました。"
FAILED = "失敗しました。{error}"
LOSS_CURVES = "学習の損失（目盛りは線ごとに異なります。低いほど良い値です）"
LOSSES = {"reconstruction": "再構成", "attention": "アテンション", "prior": "事前知識の保持"}
ATTENTION_MAP = "アテンションマップ"
PREVIEW = "プレビュー"
PREVIEW_STRIP = "左：アテンションマップ。右：学習中のプレビュー。"

# Consent
CONSENT_TITLE = "写真に写る人物とブランド"
CONSENT_QUESTION = "人物またはブランドが写っていますか？"
CONSENT_SHOWN, CONSENT_NOBODY = "はい", "いいえ"
CONSENT_WHO = "同意した人"
CONSENT_SCOPE = "同意の範囲"
CONSENT_SCOPE_HINT = "例：春のカタログの画像"
CONSENT_UNTIL = "期限（最終日）"
CONSENT_INFO = (
    "回答はオブジェクトセットと各画像に記録されます。期限を過ぎると画像は生成できません。"
    "子どもや著名人の写真は使わないでください。"
)
FACE_FOUND = "写真に顔が見つかりました。抽出する前に、下の「写真に写る人物とブランド」に回答してください。"
FACE_FOUND_REQUIRED = (
    "写真に顔が見つかりました。下の「写真に写る人物とブランド」に同意した人を入力してください。"
    "回答がないと抽出できません。"
)
FACE_REFUSED = "写真に顔が見つかりました。このスタジオでは人物の写真を使えません。別の写真を選んでください。"

# 3 Generate
TAB_GENERATE = "3 · 生成"
GENERATE_EMPTY = "抽出したオブジェクトがありません。先に 2 を完了してください。"
ADDED_SETS, ADDED_SETS_INFO = "オブジェクトセットを追加", "複数の写真のオブジェクトを 1 枚の画像に組み合わせます。"
OBJECT_SET = "オブジェクトセット"
DATE_FORMAT = "%m/%d %H:%M"
PROMPT = "プロンプト"
PROMPT_HINT = "a photo of <asset0> at the beach"
PROMPT_INFO = "短く簡潔な英語で入力してください。下のボタンでも作成できます。"
PROMPT_HISTORY = "最近のプロンプト"
RESTORE_SETTINGS = "ここで生成した画像をドロップすると、プロンプトと設定を復元します"
IMAGE_WITHOUT_SETTINGS = "このファイルにはこのスタジオの設定がありません。ここで保存した PNG をドロップしてください。"
HINT_NO_OBJECT = "プロンプトに抽出したオブジェクトがありません。下のボタンで挿入してください。"
HINT_ONLY_NEGATIVE = "{name} はネガティブプロンプトにしかないため、画像から除外されます。"
HINT_TWICE = "{name} がプロンプトに 2 回以上あるため、画像にも複数現れることがあります。"
HINT_CUT_OFF = "プロンプトが長すぎて {handle} が切り捨てられます。短くするか、{handle} を前に移してください。"
HINT_ENGLISH = "ベースモデルが理解できるのは英語だけです。英語で入力するか、下のボタンを使ってください。"
HINT_UNKNOWN_WORDS = "トイボックスが知らない単語です：{words}。下のボタンの場所とスタイルを使ってください。"
INSERT_OBJECT = "オブジェクトを挿入："
PLACES_TITLE = "場所："
TOYBOX_PLACES = {
    "at the beach": "浜辺で",
    "in the snow": "雪の中で",
    "on the grass": "草の上で",
    "in the desert": "砂漠で",
    "on a wooden table": "木のテーブルで",
    "in front of a brick wall": "れんがの壁の前で",
    "under the night sky": "夜空の下で",
    "under water": "水中で",
    "in the forest": "森で",
    "in the street": "街角で",
    "at sunset": "夕焼けの中で",
    "in the kitchen": "キッチンで",
}
STYLES_TITLE = "スタイル："
TOYBOX_STYLES = {
    "a photo": "写真",
    "a black and white photo": "白黒写真",
    "an old photo": "古い写真",
    "a pencil drawing": "鉛筆画",
    "a painting": "絵画",
}
SD_PLACES = {
    "on a white studio background, soft light": "白いスタジオで",
    "on a marble counter in the morning light": "大理石の台で",
    "on a wooden table in a cozy café": "カフェのテーブルで",
    "in a bright living room": "明るいリビングで",
    "on a picnic blanket in a park": "公園のピクニックで",
    "on a beach at sunset": "夕日の浜辺で",
    "on a mossy rock in a forest": "森の岩の上で",
    "in the snow in front of mountains": "雪山の前で",
    "on a city street at night, neon lights": "夜の街で",
    "on a flower meadow in spring": "春の花畑で",
    "under water, rays of light": "水中で",
    "floating in space among stars": "宇宙で",
}
SD_STYLES = {
    "a photo": "写真",
    "a close-up photo": "接写",
    "a side-view photo": "横から",
    "a top-down photo": "真上から",
    "a black and white photo": "白黒写真",
    "a watercolor painting": "水彩画",
    "an oil painting": "油絵",
    "a pencil drawing": "鉛筆画",
    "a picture-book illustration": "絵本の挿絵",
    "a 3D render": "3D CG",
}
IMAGE_COUNT = "画像の枚数"
TOYBOX_VARIETY = "トイボックスは大きさと位置を変えられないため、似た画像になります。場所やスタイルを変えてください。"
SHAPE = "画像の形"
SHAPES = {"square": "正方形", "wide": "横長", "tall": "縦長"}
GENERATE = "生成"
VARIATIONS, BACKGROUND_ONLY = "写真のバリエーション", "背景のみ"
LAYOUT = "オブジェクトの配置"
LAYOUT_HINT = (
    "オブジェクトを追加してドラッグで動かし、右下の角で大きさを変えます。キー操作：矢印で移動、+ と − で拡大・縮小、"
    "M で左右反転、PageUp と PageDown で重なり順、Delete で削除。プロンプトにも同じオブジェクトを入れてください。"
)
LAYOUT_TOOLS = {
    "smaller": "縮小",
    "larger": "拡大",
    "mirror": "左右反転",
    "front": "前面へ",
    "back": "背面へ",
    "remove": "削除",
}
LAYOUT_STRENGTH, LAYOUT_STRENGTH_INFO = "強さ", "小さくすると、切り抜きの形や色が残ります。"
LAYOUT_GENERATE = "この配置で生成"
DETAIL_LAYOUT = "オブジェクトを配置"
LAYOUT_EMPTY = "オブジェクトが配置されていません。ボタンで追加してください。"
STRENGTH = "バリエーションの強さ"
STRENGTH_INFO = "値が大きいほど元の写真から離れます"
INFERENCE_STEPS = "ステップ数"
GUIDANCE_SCALE = "ガイダンススケール（プロンプトへの忠実度）"
LORA, LORA_SCALE = "ほかのプログラムの LoRA（.safetensors）", "LoRA の強さ"
NEGATIVE_PROMPT = "ネガティブプロンプト（除外する内容、英語）"
DETAIL_GUIDANCE, DETAIL_STRENGTH, DETAIL_NEGATIVE = "ガイダンス", "強さ", "除外："
SEED_INFO = "同じシードと設定なら同じ画像になります。固定しない場合は毎回新しいシードを使います。"
KEEP_SEED = "シードを固定"
SEED_KEPT = "シードを {seed} に固定しました（詳細設定）。プロンプトを変更して生成してください。"
SETTINGS_USED = "その画像のプロンプトとすべての設定を反映しました。"
GENERATING = "{count} 枚中 {n} 枚目を生成しています…"
GENERATED = "{count} 枚中 {n} 枚を生成しました。画像をクリックすると、拡大、比較、保存、設定の再利用ができます。"
SHEET = "コンタクトシート：オブジェクト・スタイル・場所の組み合わせ"
SHEET_HINT = (
    "ここで選択したオブジェクト、スタイル、場所のすべての組み合わせを生成し、1 枚のシートにまとめます。"
    "プロンプトを 1 行に 1 つずつ入力すると、視点の違いなどの行を追加できます。"
)
SHEET_OBJECTS = "オブジェクト（列）"
SHEET_STYLES = "スタイル（行。選択しない場合はプロンプトのまま）"
SHEET_PLACES = "場所（行。選択しない場合はプロンプトのまま）"
SHEET_COUNT = "組み合わせごとの枚数"
SHEET_GENERATE = "シートを生成（全 {n} 枚）"
EDIT = "写真を編集：一部を描き直す"
EDIT_INFO = (
    "写真の一部を選択し、その部分と周りの様子を上のプロンプトに入力します。選択した部分だけが描き直され、"
    "ほかの部分は元のまま変わりません。"
)
EDIT_TOOLS = [
    ("ボックス", "rectangle"), ("含める", "include"), ("除外", "exclude"), ("ブラシ", "paint"), ("消しゴム", "erase"),
]  # fmt: skip
EDIT_HINTS = {  # of the tools
    "rectangle": "描き直す部分をドラッグして囲んでください。",
    "include": "描き直すオブジェクトをクリックしてください。",
    "paint": "描き直す部分をドラッグして塗ってください。",
}
EDIT_MARKED = "写真の {share:.1%} を描き直します。"
EDIT_STRENGTH, EDIT_STRENGTH_INFO = "強さ", "小さくすると、元の形や色が残ります。"
EDIT_START = "写真を編集"
EDIT_IMAGE = "この画像を編集"
DETAIL_EDIT = "写真を編集"
UPSCALE, DETAIL_UPSCALE = "2 倍に高解像度化", "{factor} 倍に高解像度化"
DOWNLOAD_SHEET = "コンタクトシートを保存"
ALL_IMAGES, FAVORITES = "すべての画像", "お気に入り"
ADD_FAVORITE, REMOVE_FAVORITE = "☆ お気に入りに追加", "★ お気に入りから削除"
COMPARE, COMPARE_REMOVE = "比較", "比較から外す"
COMPARE_TITLE = "比較："
COMPARE_HINT = "別の画像を選んで「比較」を押すと、並べて表示します。"
COMPARE_CLEAR = "比較をクリア"
DOWNLOAD_IMAGE = "画像を保存"
FORMAT, FORMAT_INFO, DOWNLOAD_FORMAT = "形式", "オブジェクトは枠内に収まります。", "この形式で保存"
FORMATS = {
    "square": "正方形",
    "4:5": "4:5",
    "16:9": "16:9",
    "shop": "ショップ 2000 × 2000",
    "story": "ストーリー 1080 × 1920",
    "banner": "バナー 1920 × 600",
    "cutout": "背景なしのオブジェクト",
}
USE_SEED = "このシードを使う"
USE_SETTINGS = "すべての設定を使う"
DOWNLOAD_FAVORITES = "お気に入りを保存（zip）"
DOWNLOAD_ALL = "すべて保存（zip）"
LIBRARY = "このマシンのライブラリ"
LIBRARY_INFO = (
    "どのセッションからも、コマンドラインからも使えるオブジェクトセットです。選択すると、ここで使えるようになります。"
    "名前とタグは「オブジェクトセット」で付けたものが使われます。"
)
LIBRARY_SEARCH = "名前・オブジェクト・タグで検索"
LIBRARY_ADD = "このセットを追加"
LIBRARY_ADDED = "「{name}」をライブラリに追加しました。"
LIBRARY_EMPTY = "ライブラリは空です。オブジェクトセットを追加してください。"
LIBRARY_NOTHING = "すべての語に一致するオブジェクトセットはありません。"
OBJECT_SETS = "オブジェクトセット：名前・書き出し・読み込み・削除"
OPEN_PHOTO = "写真を 1 で開く"
SET_NAME = "名前"
SET_TAGS = "タグ（読点またはカンマ区切り）"
SET_SAVE = "保存"
SET_EXPORT = "書き出し"
SET_IMPORT = "読み込み"
SELECT_IMAGES, SELECT_DONE = "画像を選択", "選択を終了"
DOWNLOAD_SELECTED = "選択した画像を保存（{n} 枚）"
DELETE_SELECTED = "選択した画像を削除（{n} 枚）"
DELETE_IMAGE = "画像を削除"
EMPTY_GALLERY = "生成した画像は、ここに 1 枚ずつ表示されます。"

# Evaluate
EVALUATE_TITLE = "評価：画像を写真と比較"
EVALUATE_HINT = "オブジェクトを単体と組み合わせで 4 つの場所に生成し、写真との一致を測定します。"
EVALUATE = "評価"
EVALUATING = "{count} 枚中 {n} 枚を生成して比較しました"
EVALUATE_STOPPED = "停止しました。何も変更されていません。"
NOT_JUDGED = "判定できません：{names}（判定モデルが知らないオブジェクトです。下の画像で確認してください）。"
JUDGED_SHARE = "（{count} 枚中 {n} 枚で判定）"
RECOGNIZED = "{name}：{count} 枚中 {n} 枚で認識"
METRICS = {
    "right": ("単体で生成したとき、正しいオブジェクトになった", True),
    "together_right": ("組み合わせて生成したとき、すべて正しいオブジェクトになった", True),
    "mixed": ("写真の別のオブジェクトと混同された", True),
    "place": ("正しい場所になった", True),
    "identity": ("写真との類似度（最大 1）", False),
    "prompt": ("プロンプトとの一致度（最大 1）", False),
}
TABLE_METRIC, TABLE_RESULT = "指標", "結果"
REPORT = {  # the page of a report that is downloaded
    "title": "評価：{names}",
    "models": "各値には、測定に使ったモデルを添えています。",
    "run": "オブジェクトセット",
    "judge": "トイボックスの判定モデル",
    "metrics": {
        "prompt": "プロンプトとの一致度",
        "identity": "写真との類似度",
        "right": "正しく認識された割合（1 個）",
        "together_right": "すべて正しく認識された割合（複数）",
        "place": "正しい場所と認識された割合",
        "mixed": "別のオブジェクトと混同された割合",
    },
    "confusion": "認識結果の表",
    "concept": "オブジェクト",
    "photo": "マスクを重ねた写真",
    "losses": "学習の損失",
    "loss names": {
        "reconstruction": "再構成",
        "attention": "アテンション",
        "prior": "事前知識の保持",
        "total": "合計",
    },
    "steps": "{base} で {steps} ステップ。{settings}",
    "prompt": "プロンプトとの一致度 {value:.2f}",
    "identity": "{handle} の類似度 {value:.2f}",
    "recognized": "{handle} の類似度 {value:.2f}、認識結果：{name}",
    "place": "正しい場所と認識されました",
    "no place": "正しい場所と認識されませんでした",
}
MEASURED_BY, TOYBOX_JUDGE = "{metric}（測定：{model}）", "トイボックスの判定モデル"
CONFUSION = "各オブジェクトの認識結果："
CONFUSION_REQUESTED = "指定"
CONFUSION_OTHER = {"something else": "別のもの", "nothing": "認識なし"}
DOWNLOAD_REPORT = "レポートを保存"

# Export
EXPORT_TITLE = "ほかのプログラムへの書き出し"
EXPORT_HINT = (
    "オブジェクトを LoRA と埋め込みとして保存します。サンプル画像と、そのプログラムでの手順とプロンプトを記した"
    " README（英語）が付きます。"
)
EXPORT_PROGRAM = "プログラム"
EXPORT_PROGRAMS = {
    "diffusers": "diffusers（Python）",
    "comfyui": "ComfyUI",
    "a1111": "AUTOMATIC1111・Forge",
    "kohya": "InvokeAI・SD.Next など",
}
EXPORT = "書き出し"
EXPORTING = "書き出し中…"
EXPORTED = "書き出しました。そのプログラムのプロンプトでは次のように入力します：{tokens}"
EXPORT_LEFT_OUT = "{n} 個の重みはこのプログラムでは使えません。一覧は README にあります。"
EXPORT_STOPPED = "停止しました。何も書き出されていません。"
EXPORT_DOWNLOAD = "書き出したファイルを保存（zip）"

# Provenance
PROVENANCE_TITLE = "画像の来歴とデータの管理"
ORIGIN_TITLE = "画像の来歴"
SIGNED = "画像には {organization} の署名が付きます。作成元と、変更されていないことを誰でも確認できます。"
NOT_SIGNED = "画像には AI による生成であることが記録されますが、署名はないため、変更の有無は確認できません。"
VERIFY_FILE = "来歴を確認する画像をここにドロップ"
VERIFICATION = {
    "ours": "このスタジオの鍵で {signer} が署名しており、その後変更されていません。",
    "foreign": "このスタジオとは別の鍵で {signer} が署名しており、その後変更されていません。",
    "changed": "署名後に変更されています。",
    "expired": "{signer} が署名しており、その後変更されていませんが、証明書の有効期限が切れています。",
    "unsigned": "署名がないため、変更の有無は確認できません。",
    "unknown": "来歴の情報がないため、作成元はわかりません。",
}
SOURCES = {
    "trainedAlgorithmicMedia": "AI モデルで生成された画像です。",
    "compositeWithTrainedAlgorithmicMedia": "AI モデルで編集された画像です。",
}
UNNAMED_SIGNER = "名前のない署名者"
DATA_TITLE = "データの管理"
DATA_KEPT = "写真、マスク、オブジェクトセット、画像は、削除するまでこのスタジオのディスクに保存されます。"
DATA_KEPT_DAYS = "写真、マスク、オブジェクトセット、画像は {n} 日後に削除されます。"
DATA_KEPT_HOURS = "{n} 時間使われなかったセッションは削除されます。"
ACTIONS_LOGGED = "操作はログに記録されます。写真と画像はハッシュ値のみで、内容は記録されません。"
DELETE_DATA = "自分のデータを削除…"
DELETE_DATA_QUESTION = (
    "写真、マスク、オブジェクトセット、画像をこのスタジオから完全に削除し、実行中のジョブを停止します。よろしいですか？"
    "必要なものは先に保存してください。"
)

# Pilot
TAB_PILOT = "パイロット"
PILOT_INFO = (
    "多数の写真をまとめて処理します。オブジェクトを抽出し、プロンプトの画像を生成・評価して、"
    "自社の写真で使えるか、時間と費用がどれだけかかるかをレポートにまとめます。"
)
PILOT_FILES = "写真"
PILOT_FILES_INFO = (
    "マスクは「写真名.mask.png」または COCO 形式の JSON として一緒に追加できます。"
    "マスクのない写真には自動でマスクを付け、あとで確認できます。計画ファイル（.yaml）を追加すると、下の項目の代わりに使います。"
    "写真は photos フォルダーに入ります。"
)
PILOT_PROMPTS = "プロンプト"
PILOT_PROMPTS_INFO = (
    "1 行に 1 つ、英語で入力します。{object} には各オブジェクトが順に、{objects} には写真の全オブジェクトが入ります。"
)
PILOT_PRESETS = "比較するプリセット"
PILOT_COUNT = "プロンプトごとの画像の枚数"
PILOT_NOBODY = "どの写真にも人物やブランドは写っていません"
PILOT_PRICES = "費用"
PILOT_PRICES_INFO = "入力すると、写真 1 枚あたり、使える画像 1 枚あたりの費用がレポートに示されます。"
PILOT_CURRENCY = "通貨"
PILOT_AMOUNTS = {
    "gpu_hour": "マシン 1 時間", "person_hour": "担当者 1 時間", "minutes_per_photo": "写真 1 枚あたりの作業（分）",
    "minutes_per_image": "画像 1 枚あたりの確認（分）", "reshoot": "再撮影での画像 1 枚",
}  # fmt: skip
PILOT_CREATE = "パイロットを作成"
PILOT_SAMPLE = "サンプル写真 6 枚で試す"
PILOT_NAME = "パイロット"
PILOT_ABOUT = "写真 {n} 枚、プリセット：{presets}。"
PILOT_ABOUT_PROMPTS = "プロンプト {n} 件。"
PILOT_ABOUT_AUTOMATIC = "マスクのない写真が {n} 枚あります。自動でマスクを付けるので、開始する前に確認してください。"
PILOT_START = "開始"
PILOT_RETRY = "失敗した写真を再処理"
PILOT_PLAN_DOWNLOAD = "計画をダウンロード"
PILOT_DELETE = "パイロットを削除"
PILOT_DELETE_QUESTION = "このパイロットを写真と結果ごと削除しますか？"
PILOT_PROGRESS = "{total} 枚中 {n} 枚の処理が終わりました。"
PILOT_FAILED = "{n} 枚は処理できませんでした。"
PILOT_FINISHED = "レポートができました。"
PILOT_STOPPED = "処理済みの結果は残っています。"
PILOT_STOPPED_NOTHING = "停止しました。"
PILOT_REVIEW = "マスクの確認"
PILOT_REVIEW_INFO = (
    "自動で付けたマスクを 1 つずつ採用・修正・却下し、オブジェクトに名前を付けて保存します（画面は英語です）。"
    "次に開始するときに反映されます。"
)
PILOT_REVIEW_START = "マスクを検出"
PILOT_REVIEW_READY = "写真 {n} 枚のマスクを「マスクの確認」で確認できます。"
PILOT_FINDING_MASKS = "マスクを検出しています"
PILOT_REVIEW_FILE = "保存した確認結果（review.json）"
PILOT_REVIEW_ADDED = "写真 {n} 枚の確認結果を保存しました。"
PILOT_REPORT = "レポート"
PILOT_REPORT_SHOW = "レポートを表示"
PILOT_VOTE = "投票"
PILOT_VOTE_INFO = (
    "どの画像なら使うかを、条件を伏せたまま同僚に選んでもらいます（画面は英語です）。ここで投票するか、ページをダウンロード"
    "して送り、返ってきたファイルを追加します。結果はレポートに集計されます。"
)
PILOT_VOTE_SHOW = "ここで投票"
PILOT_VOTE_DOWNLOAD = "ページをダウンロード"
PILOT_VOTE_FILES = "保存した投票"
PILOT_VOTES_ADDED = "{names} さんの投票を追加しました。投票者は {n} 人です。"
PILOT_AB = "A/B テスト"
PILOT_AB_INFO = (
    "広告媒体向けに、各写真のオブジェクトの画像を 2 ～ 6 通り生成します。配信後、結果の CSV を追加してください（列は "
    "variant、impressions、clicks、必要なら conversions）。"
)
PILOT_VARIANTS = "パターン"
PILOT_VARIANTS_START = "パターンを生成"
PILOT_GENERATING = "パターンを生成しています"
PILOT_VARIANTS_READY = "画像 {n} 枚をダウンロードできます。"
PILOT_VARIANTS_DOWNLOAD = "パターンをダウンロード（zip）"
PILOT_AB_FILE = "配信結果（CSV）"
PILOT_AB_COLUMNS = {  # by the rate that is compared
    "clicks": ["パターン", "クリック率", "95 % 区間", "表示回数"],
    "conversions": ["パターン", "コンバージョン率", "95 % 区間", "クリック数"],
}
PILOT_AB_OUTCOMES = {
    "winner": "{rate}：{first} が優れています（p = {p}）。",
    "empty": "{rate}：まだ決まりません。{unit}のあるパターンが 2 つ必要です。",
    "equal": "{rate}：上位 2 つに差がありません。ほかの理由で選んでください。",
    "needed": "{rate}：まだ決まりません。上位 2 つに、それぞれあと約 {n} の{unit}が必要です。",
}

# Administration
QUEUE_TITLE = "運用：待ち行列とエラー"
REFRESH = "更新"
JOBS_TITLE, FAILURES_TITLE = "ジョブ", "最近のエラー"
JOB_STATES = {"running": "実行中", "waiting": "待機中"}
JOB_COLUMNS = ["ジョブ", "利用者", "状態", "前のジョブ数"]
FAILURE_COLUMNS = ["日時", "ジョブ", "利用者", "エラー"]
NO_JOBS, NO_FAILURES = "実行中または待機中のジョブはありません。", "スタジオの起動後に失敗したジョブはありません。"
LOG_TITLE = "監査ログ"
LOG_FIRST, LOG_LAST = "開始日（UTC）", "終了日（UTC）"
LOG_SHOW, LOG_DOWNLOAD = "記録を表示", "記録を保存（CSV）"
LOG_COLUMNS = ["番号", "日時（UTC）", "利用者", "操作", "詳細"]
LOG_ACTIONS = {
    "extract": "抽出の開始", "extracted": "抽出の終了", "generate": "画像の生成", "download": "保存",
    "export": "書き出し", "delete": "削除", "login": "ログイン", "repair": "ログの修復",
}  # fmt: skip
LOG_COUNT = "この期間の {count} 件のうち最新の {n} 件："
LOG_COMPLETE = "ログは {n} 件です。欠落も変更もありません。"
LOG_FAULTS = {
    "changed": "記録 {entries} が変更されています。",
    "removed": "記録 {entries} が削除されています。",
    "added": "{entries} 行目が追加されています。本来の記録ではありません。",
    "cut": "末尾が切り取られています。記録 {entries} がありません。",
    "headless": "head.json がないか壊れているため、末尾の欠落を否定できません。",
}

# Errors: one sentence each, with what to do
QUEUE_FULL = "待ち行列がいっぱいです。数分後にもう一度お試しください。"
NO_RESPONSE = "スタジオが応答しません。動作を確認してから、このページを再読み込みしてください。"
FILE_TOO_LARGE = "ファイルが {most} MB を超えています。小さくしてからお試しください。"
TOO_MANY_JOBS = "すでに {n} 件のジョブが待機中です。どれかが終わるまでお待ちください。"
OBJECT_SET_UNKNOWN = "オブジェクトセットが見つかりません。先に 2 を完了するか、別のセットを選んでください。"
SESSION_UNKNOWN = "セッションの有効期限が切れました。ページを再読み込みしてください。"
NO_PHOTO = "写真がありません。サンプルを選ぶか、写真をアップロードしてください。"
NO_SELECTION = "オブジェクトが選択されていません。先に写真の中のオブジェクトをクリックしてください。"
NO_REGION = "描き直す部分が選択されていません。先に写真の中で選択してください。"
NO_MASK = "変更するマスクがありません。先にオブジェクトをクリックしてください。"
NO_SMALLER = "これより狭い範囲はありません。「除外」で不要な部分をクリックしてください。"
NO_LARGER = "これより広い範囲はありません。「含める」で足りない部分をクリックしてください。"
WRONG_FILE_TYPE = "この種類のファイルはここでは開けません。対応する種類のファイルを選んでください。"
BASE_NOT_ALLOWED = "ベースモデル {name} はここでは選べません。一覧から選んでください。"
BASE_IN_USE = "ベースモデル {name} はすでに使用中です。別のモデルを選んでください。"
BASE_CHANGING = "ベースモデルを変更しています。しばらくしてからもう一度お試しください。"
BASE_NEEDS_IDLE = "待機中または実行中のジョブがあります。終了してからベースモデルを変更してください。"
POINT_OUTSIDE = "写真の外の座標です（写真は {width} × {height} ピクセル）。より小さい値を入力してください。"
INCLUDE_FIRST = "除外するものがありません。先に「含める」でオブジェクトをクリックしてください。"
NO_OBJECT_FOUND = "ここにはオブジェクトが見つかりません。中心の近くをクリックするか、「ボックス」で囲んでください。"
BOX_TOO_SMALL = "ボックスが小さすぎます。より大きく囲んでください。"
CROP_TOO_SMALL = "選んだ部分が小さすぎるか、細長すぎます。より大きく囲んでください。"
SELECTION_CHANGED = "選択が変更されていたため、このタブを更新しました。もう一度クリックしてください。"
ALREADY_SELECTED = "このオブジェクトはすでに選択されています。別のオブジェクトを選んでください。"
TOO_MANY_OBJECTS = "選択できるオブジェクトは {n} 個までです。先にどれかを削除してください。"
NOTHING_TO_UNDO = "元に戻す操作がありません。先に写真の中のオブジェクトをクリックしてください。"
NOTHING_TO_REDO = "やり直す操作がありません。先に操作を元に戻してください。"
INVALID_STEPS = "ステップ数は各段階とも 0 から {most} までで、少なくとも一方を 1 以上にしてください。"
EXCEEDS_GPU_TIME = (
    "この Space で使える GPU の時間を超えます。「クイック」を選ぶか、詳細設定でステップ数を減らしてください。"
)
NOTHING_TO_DELETE = "削除できる停止中の抽出はありません。3 に進むか、もう一度抽出してください。"
NOTHING_TO_RESUME = "再開できる抽出はありません。もう一度抽出してください。"
ALREADY_EXTRACTING = "抽出を実行中です。終わるまで待つか、先に停止してください。"
ALREADY_GENERATING = "画像を生成中です。終わるまで待つか、先に停止してください。"
JOB_RUNNING = "ジョブを実行中です。終わるまで待つか、先に停止してください。"
ALREADY_EXPORTING = "書き出しを実行中です。終わるまで待つか、先に停止してください。"
EXPORT_UNKNOWN = "そのプログラムへの書き出しには対応していません。{known} から選んでください。"
EXPORT_MISSING = "書き出したファイルがありません。先に「書き出し」を押してください。"
ALREADY_EVALUATING = "評価を実行中です。終わるまで待つか、先に停止してください。"
NO_REPORT = "レポートがありません。先に「評価」を押してください。"
PROMPT_TOO_LONG = "プロンプトが長すぎます。{most} 文字以内にしてください。"
UNKNOWN_SHAPE = "この形は指定できません。{known} から選んでください。"
NO_PROMPT = "プロンプトがありません。先に入力してください。例：a photo of <asset0> at the beach"
SHEET_NO_OBJECT = (
    "プロンプトに入れ替えるオブジェクトがありません。"
    "ボタンで挿入するか、シートのオブジェクトの選択をすべて外してください。"
)
SHEET_SEVERAL_OBJECTS = (
    "プロンプトの複数の箇所にオブジェクトがあります。1 か所にするか、シートのオブジェクトの選択をすべて外してください。"
)
SHEET_TOO_LARGE = (
    "{n} 枚になりますが、シートは {most} 枚までです。オブジェクト、スタイル、場所のいずれかを減らしてください。"
)
NO_IMAGE_SELECTED = "画像が選択されていません。先に画像をクリックしてください。"
OBJECT_SET_DELETED = "この画像のオブジェクトセットは削除されています。先に読み込んでください。"
QUOTA_JOBS = "本日のジョブ数が上限（1 人 {n} 件）に達しました。明日またご利用ください。"
QUOTA_DISK = (
    "保存データが {used} MB になり、1 人あたりの上限（{most} MB）に達しています。"
    "先にオブジェクトセット、またはすべてのデータを削除してください。"
)
ROLE_REQUIRED = "このアカウントには必要な役割がありません。管理者にお問い合わせください。"
NO_LOG = "監査ログがありません。BREAKASCENE_AUDIT にフォルダーを設定してスタジオを起動してください。"
INVALID_DAY = "日付として読み取れません。YYYY-MM-DD の形で入力するか、空欄にしてください。"
VERIFY_NO_IMAGE = "画像として読み込めないファイルです。PNG、JPEG、WebP のファイルをドロップしてください。"
PILOT_MISSING = "パイロットがまだありません。写真を追加して作成してください。"
PILOT_NOT_RUN = "結果がまだありません。先に「開始」をクリックしてください。"
PILOT_OTHER_BASE = "この計画はベースモデル {name} 用です。ページの上部でそのモデルを選ぶか、計画を変更してください。"
PILOT_NO_PHOTOS = "ファイルに写真がありません。写真を追加してください。"
PILOT_TOO_MANY_FILES = "計画が 2 つ以上あるか、ファイルが {most} 個を超えています。減らしてください。"
PILOT_SAME_NAME = "{name} という名前のファイルが 2 つあります。どちらかの名前を変えてください。"
PILOT_NO_VARIANTS = "パターンがまだありません。先に「パターンを生成」をクリックしてください。"
NO_IMAGES = "保存できる画像がありません。先に生成してください。"
OUT_OF_MEMORY = "メモリが不足しました。「クイック」か「ライト」を選ぶか、画像の枚数を減らして、もう一度お試しください。"
DISK_FULL = "ディスクがいっぱいです。空き容量を増やして、もう一度お試しください。写真とマスクは残っています。"
VISITOR_MEMORY_FULL = (
    "1 人あたりのメモリの上限（{most} MB）を超えます。小さい写真を使うか、選択するオブジェクトを減らしてください。"
)
STUDIO_MEMORY_FULL = "多くの人が利用しているためメモリが不足しています。数分後にもう一度お試しください。"
UNEXPECTED = "スタジオで問題が発生しました（詳細はログにあります）。作業は残っています。もう一度お試しください。"

# Messages of the other packages, by their templates (strings.translate); those left out stay as they are
MESSAGES = {
    "The box reaches outside the photo, which is {width} × {height} pixels: give two corners inside it.": (
        "ボックスが {width} × {height} ピクセルの写真からはみ出しています。写真の中の 2 つの角を指定してください。"
    ),
    "The region is {width} × {height} pixels but the photo {photo_width} × {photo_height}: mark it on the photo "
    "itself.": (
        "選択範囲は {width} × {height} ピクセルですが、写真は {photo_width} × {photo_height} ピクセルです。"
        "写真そのものの上で選択してください。"
    ),
    "The region is empty: mark the part of the photo to repaint.": (
        "選択範囲が空です。写真の中の描き直す部分を選択してください。"
    ),
    "{base} generates {width} × {height} pixels, so the region is enlarged {factor:.1f} times and less sharp than the "
    "photo: mark a smaller region for more detail.": (
        "{base} が生成するのは {width} × {height} ピクセルのため、選択した部分は {factor:.1f} 倍に拡大され、"
        "写真よりぼやけます。細部を出すには、狭い範囲を選択してください。"
    ),
    "{model} could not be downloaded from the hub: connect to the internet and try again.": (
        "{model} をハブからダウンロードできませんでした。インターネットに接続して、もう一度お試しください。"
    ),
    "There is no room for {model} in {folder}: free some space there, or set HF_HOME to a folder on another disk.": (
        "{folder} の空き容量が {model} に足りません。"
        "容量を空けるか、別のディスクのフォルダーを HF_HOME に設定してください。"
    ),
    "{file} of {model} arrived damaged: try again.": (
        "{model} の {file} が壊れた状態で届きました。もう一度お試しください。"
    ),
    "{name} is not a complete Stable Diffusion 1.x, 2.x or SDXL model, or does not fit its configuration: give the "
    "full checkpoint (a LoRA or a single component is not enough) or a folder in the diffusers layout.": (
        "{name} は完全な Stable Diffusion 1.x、2.x、SDXL のモデルではないか、設定と合いません。"
        "完全なチェックポイントか、diffusers 形式のフォルダーを指定してください。"
    ),
    "The base {name} is incomplete or not a Stable Diffusion model: it needs tokenizer, text_encoder, unet, vae and "
    "scheduler (for SDXL also tokenizer_2 and text_encoder_2) in the diffusers layout, with safetensors weights.": (
        "ベースモデル {name} は不完全か、Stable Diffusion のモデルではありません。diffusers 形式の tokenizer、"
        "text_encoder、unet、vae、scheduler（SDXL では tokenizer_2 と text_encoder_2 も）と safetensors の重みが"
        "必要です。"
    ),
    "The base {name} predicts {what}: use one that predicts epsilon or v_prediction.": (
        "ベースモデル {name} は {what} を予測します。epsilon または v_prediction を予測するモデルを使ってください。"
    ),
    "The base {name} is an inpainting or similar model: use a plain text-to-image model.": (
        "ベースモデル {name} はインペイントなどのモデルです。通常の text-to-image モデルを使ってください。"
    ),
    "The consent of {who} ended on {until}: ask them again, then extract again with the new day.": (
        "{who} の同意は {until} で終了しました。あらためて同意を得てから、新しい期限でもう一度抽出してください。"
    ),
    "A face was found, and photos with people are not taken here: use another photo.": (
        "顔が見つかりました。ここでは人物の写真を使えません。別の写真を選んでください。"
    ),
    "A person may be shown: extract the photo with the consent of those shown, then generate variations of it.": (
        "人物が写っている可能性があります。写っている人の同意を記録してこの写真から抽出し、バリエーションを生成してください。"
    ),
    "A person may be shown: say who agreed, to what and until when, or that nobody is shown.": (
        "人物が写っている可能性があります。「写真に写る人物とブランド」で、同意した人・範囲・期限、"
        "または写っていないことを回答してください。"
    ),
    "Nobody is said to be shown, but somebody to have agreed: give one or the other.": (
        "写っていないという回答と同意の内容が矛盾しています。どちらかにしてください。"
    ),
    "A part of the consent is missing: say who agreed, to what, and until when.": (
        "同意の内容が不足しています。同意した人・範囲・期限をすべて入力してください。"
    ),
    "The consent is too long: use up to {most} characters for each part.": (
        "同意の内容が長すぎます。各項目は {most} 文字以内にしてください。"
    ),
    '"{until}" is not a day: write it as YYYY-MM-DD.': (
        "「{until}」は日付ではありません。YYYY-MM-DD の形で入力してください。"
    ),
    "The audit log in {folder} cannot be written ({reason}): free some space, or change the folder's permissions.": (
        "{folder} の監査ログに書き込めません。空き容量を増やすか、フォルダーの権限を変更してください。"
    ),
    'There is no run "{key}" in the library {folder}: give a run folder, or the name or id of a run there.': (
        "ライブラリー {folder} に「{key}」はありません。"
        "実行フォルダーか、ライブラリーにある名前または ID を指定してください。"
    ),
    'Several runs are named "{key}": use an id, {ids}.': (
        "「{key}」という名前のものが複数あります。ID（{ids}）を指定してください。"
    ),
    'There are no masks of the format "{format}": choose from {formats}.': (
        "マスクの形式「{format}」には対応していません。{formats} から選んでください。"
    ),
    "{folder} has {count} masks: give a folder with up to {most} masks or cut-outs (.png), or a JSON file.": (
        "{folder} のマスクは {count} 個です。マスクまたは切り抜き（.png）が {most} 個以下のフォルダーか、JSON "
        "ファイルを指定してください。"
    ),
    "{file} has no masks of this photo, {reason}: export it as COCO JSON with polygons or RLE.": (
        "{file} にこの写真のマスクがありません。ポリゴンまたは RLE の COCO 形式の JSON として書き出してください。"
    ),
    "The masks of {source} are {width} × {height} pixels and do not fit the photo, {photo_width} × "
    "{photo_height}: use the masks of this photo.": (
        "{source} のマスク（{width} × {height}）は写真（{photo_width} × {photo_height}）に合いません。この写真の"
        "マスクを使ってください。"
    ),
    "These runs cannot be combined, they were learned on {one} and on {other}: choose runs of one base.": (
        "異なるベースモデル（{one} と {other}）で抽出したオブジェクトは組み合わせられません。"
    ),
    "With more than {most} objects the background cannot be extracted: switch it off, or mark fewer objects.": (
        "オブジェクトが {most} 個を超えると背景は抽出できません。背景をオフにするか、オブジェクトを減らしてください。"
    ),
    (
        "Objects that were learned in groups cannot be exported, because other programs apply a LoRA to the whole "
        "image: extract those that you need, at most eight, in a run of their own."
    ): (
        "グループに分けて抽出したオブジェクトは書き出せません（ほかのソフトでは LoRA が画像全体に適用されるためです）。"
        "必要なオブジェクトを 8 個以内で選び、あらためて抽出してください。"
    ),
    "The same run is given twice: name each run once.": "同じオブジェクトセットが 2 回指定されています。",
    "{folder} is not an exported folder: give a LoRA file, or a folder that export wrote.": (
        "{folder} は書き出したフォルダーではありません。LoRA ファイルか、書き出したフォルダーを指定してください。"
    ),
    "{file} is incomplete at {name}: download it again.": (
        "{file} の {name} に不足があります。もう一度ダウンロードしてください。"
    ),
    "{file} is a pickle, which can run code when it is read: convert it to .safetensors.": (
        "{file} は読み込むだけでプログラムが実行されうる pickle 形式です。.safetensors に変換してください。"
    ),
    "There is no file {file}: check the path.": "{file} というファイルはありません。パスを確かめてください。",
    "{file} is not a .safetensors file or is damaged: download it again.": (
        "{file} は .safetensors ファイルではないか、壊れています。もう一度ダウンロードしてください。"
    ),
    "{file} has values that are not floating-point numbers: use another file.": (
        "{file} に浮動小数点数ではない値が含まれています。別のファイルを使ってください。"
    ),
    '{file} has an embedding named "{name}", which no prompt can refer to: rename it.': (
        "{file} の埋め込みの名前「{name}」はプロンプトで指定できません。名前を変更してください。"
    ),
    "{base} already has a token {handle}: use another name.": (
        "{base} にはすでにトークン {handle} があります。別の名前を使ってください。"
    ),
    "{file} has values that are not finite: use another file.": (
        "{file} に無限大または非数の値が含まれています。別のファイルを使ってください。"
    ),
    "{file} is a {kind}, which is not supported: use a plain LoRA.": (
        "{file} は {kind} です。対応しているのは通常の LoRA だけです。"
    ),
    "{file} is not a LoRA, it has the key {key}: use a LoRA for Stable Diffusion.": (
        "{file} は LoRA ではありません（キー {key}）。Stable Diffusion 用の LoRA を使ってください。"
    ),
    "{file} has two values for {layer}: download it again.": (
        "{file} に {layer} の値が 2 つあります。もう一度ダウンロードしてください。"
    ),
    "{file} has no LoRA in it: use a LoRA for Stable Diffusion.": (
        "{file} に LoRA が含まれていません。Stable Diffusion 用の LoRA を使ってください。"
    ),
    "{file} does not fit {base} (it was made for {model}), which has {reason}: use a LoRA for this kind of base.": (
        "{file}（{model} 用）は {base} に合いません。このベースモデルと同じ種類の LoRA を使ってください。"
    ),
    "{file} does not fit {base}, which has {reason}: use a LoRA for this kind of base.": (
        "{file} は {base} に合いません。このベースモデルと同じ種類の LoRA を使ってください。"
    ),
    "{file} is not an embedding for {base}: use one for this kind of base.": (
        "{file} は {base} 用の埋め込みではありません。このベースモデルと同じ種類のものを使ってください。"
    ),
    "{file} does not fit {base}: use an embedding of one vector for this kind of base.": (
        "{file} は {base} に合いません。同じ種類のベースモデル用で、ベクトルが 1 つの埋め込みを使ってください。"
    ),
    "Two LoRAs bring the handle {handle}: rename one of the embeddings.": (
        "2 つの LoRA が同じハンドル {handle} を使っています。どちらかの埋め込みの名前を変更してください。"
    ),
    "A LoRA brings the handle {handle}, which the run has too: rename its embedding.": (
        "LoRA に含まれるハンドル {handle} は、オブジェクトセットにもあります。埋め込みの名前を変えてください。"
    ),
    "This run has trained no weights that a LoRA can hold: resume it through phase 2, then export.": (
        "LoRA に書き出せる重みがまだ学習されていません。第 2 段階まで抽出してから、もう一度書き出してください。"
    ),
    "{program} cannot open the toybox: export to diffusers, or extract on Stable Diffusion.": (
        "{program} では内蔵モデル（toybox）を開けません。diffusers に書き出すか、Stable Diffusion で抽出してください。"
    ),
    "Faces are looked for with OpenCV 4: install it (pip install -r requirements.txt).": (
        "顔の検出には OpenCV 4 が必要です。requirements.txt のバージョンをインストールしてください。"
    ),
    "Memory ran out in the most economical mode too: close other programs, or choose a smaller base or "
    "a LoRA preset, light or quick.": (
        "使用量の最も少ないモードでもメモリが不足しました。ほかのプログラムを閉じるか、より小さいベー"
        "スモデル、または「ライト」か「クイック」を選んでください。"
    ),
    "Memory ran out: install bitsandbytes (pip install bitsandbytes) for a mode that needs less, close "
    "other programs, or choose a smaller base or a LoRA preset, light or quick.": (
        "メモリが不足しました。ほかのプログラムを閉じるか、より小さいベースモデル、または「ライト」か"
        "「クイック」を選んでください。"
    ),
    'A further photo has an object named "{name}", which is not the name of exactly one object in the '
    "first photo: give each object one name, and use it in every photo.": (
        "追加の写真の「{name}」は、最初の写真の 1 つのオブジェクトに対応していません。同じオブジェクト"
        "にはどの写真でも同じ名前を、異なるオブジェクトには異なる名前を付けてください。"
    ),
    "{photo} is only {width} × {height} pixels: use a photo of at least 16 × 16.": (
        "{photo} は {width} × {height} ピクセルしかありません。16 × 16 ピクセル以上の写真を使ってください。"
    ),
    "{photo} is {width} × {height} pixels, too long and narrow: crop it around the objects.": (
        "{photo} は {width} × {height} ピクセルで細長すぎます。オブジェクトの周囲だけを切り取ってください。"
    ),
    "{photo} has more than {most} megapixels: make it smaller first.": (
        "{photo} は {most} メガピクセルを超えています。小さくしてからお試しください。"
    ),
    "{photo} is not a readable image: use a JPEG, PNG, WebP or HEIC file.": (
        "{photo} を画像として読み込めません。JPEG、PNG、WebP、HEIC のファイルを使ってください。"
    ),
    "{photo} is damaged or truncated: copy or download it again.": (
        "{photo} は破損しているか、途中で切れています。もう一度コピーまたはダウンロードしてください。"
    ),
    "The mask of {handle} ({name}) covers less than 0.05 % of the photo: mark the whole object, or crop "
    "the photo around it.": (
        "{name}（{handle}）のマスクは写真の 0.05 % 未満です。全体を選択するか、写真をその周囲で切り取ってください。"
    ),
    "The masks of {one} ({name}) and {other} ({other_name}) are the same: remove one of them.": (
        "{name}（{one}）と {other_name}（{other}）のマスクは同じです。どちらかを削除してください。"
    ),
    "The masks cover the whole photo and leave no background: switch the background off.": (
        "マスクが写真全体を覆っているため、背景が残りません。「背景も抽出する」をオフにしてください。"
    ),
    'The name "{name}" cannot be used: write a few plain words without < and >.': (
        "「{name}」という名前は使えません。< と > を含まない短い名前にしてください。"
    ),
    "The image size {width} × {height} is not supported: use sides from {least} to {most} pixels, in "
    "steps of {cell}.": (
        "{width} × {height} の画像は生成できません。各辺を {least} から {most} ピクセルの範囲で {cell} "
        "の倍数にしてください。"
    ),
    "The strength {value} cannot be used: choose a number above 0, which keeps the image, up to 1, which ignores it.": (
        "強さ {value} は使えません。0 より大きく（元の画像に近い）1 以下（元の画像を使わない）の値にしてください。"
    ),
    "The layout has no {key}: write JSON such as {example}.": (
        "レイアウトに {key} がありません。{example} のような JSON で指定してください。"
    ),
    "The layout cannot be read ({reason}): write JSON such as {example}.": (
        "レイアウトを読み取れません（{reason}）。{example} のような JSON で指定してください。"
    ),
    "The layout places {handle}, which is no object in use: the objects are {known}.": (
        "レイアウトの {handle} は使用中のオブジェクトではありません。使えるのは {known} です。"
    ),
    "The box of {handle} is too small or outside the image: write left, top, right and bottom as numbers from 0 to 1, "
    "left and top first.": (
        "{handle} の枠が小さすぎるか、画像の外にあります。左・上・右・下の順に 0 から 1 の数値で指定してください。"
    ),
    "{handle} is in the layout but not in the prompt: add it to the prompt, or take it out of the layout.": (
        "{handle} はレイアウトにありますが、プロンプトにありません。プロンプトに加えるか、レイアウトから外"
        "してください。"
    ),
    "{handle} is too small to be drawn: make its box larger, or use a larger image.": (
        "{handle} が小さすぎて描けません。枠を大きくするか、大きい画像を使ってください。"
    ),
    "There is no <background>: extract the photo with its background.": (
        "<background> がありません。背景も抽出する設定で写真を抽出し直してください。"
    ),
    "The smaller objects cover {handle} ({name}) entirely: mark more of it, or remove one of them.": (
        "{name}（{handle}）が小さいオブジェクトで完全に覆われています。範囲を広げるか、どちらかを削除してください。"
    ),
    "The image was generated with a LoRA: such images are upscaled only while they are generated.": (
        "この画像は LoRA を使って生成されています。LoRA を使う画像は、生成と同時にだけ高解像度化できます。"
    ),
    "The image has transparent parts: upscale the image that they were cut from.": (
        "透明な部分のある画像です。切り抜く前の画像を高解像度化してください。"
    ),
    "The image is {width} × {height} pixels, and {base} upscales images with sides from {least} to {most}: choose "
    "another one.": (
        "この画像は {width} × {height} ピクセルですが、{base} で高解像度化できるのは一辺が {least}〜{most} ピクセルの"
        "画像です。別の画像を選んでください。"
    ),
    'There is no format "{name}": choose {known}.': "「{name}」という形式はありません。{known} から選んでください。",
    "No object was found in the image: choose another one, or crop it by hand.": (
        "画像にオブジェクトが見つかりませんでした。別の画像を選ぶか、手作業で切り抜いてください。"
    ),
    "{word} is an unknown handle: this run knows {known}.": (
        "{word} というハンドルはありません。使えるのは {known} です。"
    ),
    "The prompt is too long for {base}: {handle} is cut off after {limit} tokens. Shorten the prompt "
    "or move the handle forward.": (
        "プロンプトが長すぎて {handle} が切り捨てられます。短くするか、{handle} を前に移してください。"
    ),
    "These concepts were learned on {learned}, not on {base}: load that base, or extract again.": (
        "別のベースモデル（{learned}）で抽出したオブジェクトです。そのモデルを指定してスタジオを起動す"
        "るか、もう一度抽出してください。"
    ),
    "The saved run differs in {what}: resume with the same, or start a new run.": (
        "停止中の抽出は、別のベースモデルまたは別の設定のものです。削除してから、もう一度抽出してください。"
    ),
    "These objects were learned on another model ({base}): open the studio with that one.": (
        "別のベースモデル（{base}）で抽出したオブジェクトです。そのモデルを指定してスタジオを起動してください。"
    ),
    "This file cannot be imported, {why}: choose a run file that was saved here.": (
        "このファイルは読み込めません。「書き出し」で保存したファイルを選んでください。"
    ),
    "{handle} ({name}) covers only {share:.1%} of the training image. Crop the photo closer, or "
    "extract it in a separate run.": (
        "{name}（{handle}）が小さすぎます（学習範囲の {share:.1%}）。写真をその近くで切り取るか、単独"
        "で抽出してください。"
    ),
    "{one} ({name}) and {other} ({other_name}) overlap by {share:.0%} of the smaller mask, so "
    "their appearances may mix. Remove the overlap from one of the masks.": (
        "{name}（{one}）と {other_name}（{other}）のマスクが {share:.0%} 重なり、外見が混ざる可能性が"
        "あります。重なった部分をどちらかから除外してください。"
    ),
    "{handle} ({name}) has {share:.0%} of its attention outside its mask, so it may mix with the rest of the "
    "photo. Train for more steps, crop the photo closer, or select fewer objects.": (
        "{name}（{handle}）のアテンションの {share:.0%} がマスクの外にあり、写真のほかの部分と混ざる可"
        "能性があります。ステップ数を増やすか、写真をその近くで切り取るか、一度に抽出するオブジェクト"
        "を減らしてください。"
    ),
    "{mask} has no class {label}: choose from {classes}.": (
        "{mask} にクラス {label} はありません。{classes} から選んでください。"
    ),
    "{mask} is a label map with {count} classes ({classes}): choose one, for example {mask}#{example}.": (
        "{mask} は {count} 個のクラス（{classes}）を含むラベル画像です。{mask}#{example} のようにクラ"
        "スを 1 つ指定してください。"
    ),
    "{mask} marks {share:.0%} of the photo with all its edges, so it seems to be inverted: mark the object "
    "white on black. To learn the surroundings, use the background option.": (
        "{mask} は写真の {share:.0%} を端まで覆っており、白黒が逆になっているようです。対象を白、それ"
        "以外を黒にしてください。背景を学習するには、背景の設定をご利用ください。"
    ),
    "{mask} fits the photo before its EXIF rotation, not as it is displayed: rotate or mirror the mask.": (
        "{mask} は回転前の写真に合わせて作られているようです。表示される向きに合わせて、マスクを回転ま"
        "たは反転してください。"
    ),
    "{mask} does not show one object clearly (its bright part covers {share:.0%} of the photo): mark "
    "the object white on black, or opaque on transparent.": (
        "{mask} から対象を 1 つに判別できません（明るい部分は写真の {share:.0%} です）。黒地に白、また"
        "は透明な背景に不透明で対象を塗ってください。"
    ),
    "The prompt has characters that are not text: remove them, or type the prompt again.": (
        "プロンプトに文字として扱えないものが含まれています。取り除くか、入力し直してください。"
    ),
    '{base} reads only the first {limit} tokens of a prompt, so "{rest}" is ignored.': (
        "{base} が読み取るのは先頭の {limit} トークンまでです。「{rest}」は無視されます。"
    ),
    'Prompt weights are not supported: "{weighted}" is read as "{plain}".': (
        "プロンプトの重み付けには対応していません。「{weighted}」は「{plain}」として扱います。"
    ),
    'Several objects are named "{name}": write {handles} instead.': (
        "「{name}」という名前のオブジェクトが複数あります。代わりに {handles} と入力してください。"
    ),
    '"{name}" is read as {handle}.': "「{name}」を {handle} として扱います。",
    "These are more than {most} images: generate fewer at a time, the next ones from another seed.": (
        "画像が {most} 枚を超えています。枚数を減らし、続きは別のシードで生成してください。"
    ),
    "The guidance scale {value} cannot be used: choose a number from 0 to {most}.": (
        "ガイダンススケール {value} は使えません。0 から {most} までの数値を指定してください。"
    ),
    "The weights of this file are too large for the base model (at {name}): train again with a lower learning rate, or "
    "use another file.": (
        "このファイルの重みは、ベースモデルに対して大きすぎます（{name}）。学習率を下げて学習し直すか、別のファイルを使ってください。"
    ),
    "SAM vit_b is in use, because vit_h needs a GPU with {gigabytes} GB of free memory: set BREAKASCENE_SAM to "
    "vit_b, or use a larger GPU.": (
        "GPU の空きメモリが {gigabytes} GB 未満で vit_h を使えないため、SAM の vit_b を使っています。"
        "BREAKASCENE_SAM に vit_b を設定するか、メモリの大きい GPU を使ってください。"
    ),
    "The small segmenter is in use, because {path} is missing or not a complete SAM checkpoint: set "
    "BREAKASCENE_SAM to one of Meta's files, such as {file}, and restart.": (
        "{path} が見つからないか、SAM のチェックポイントとして読み込めないため、小型のセグメンターを使っています。"
        "BREAKASCENE_SAM に Meta の配布ファイル（{file} など）を設定し、スタジオを再起動してください。"
    ),
    "The small segmenter is in use, because {folder} has no room for SAM {name} ({megabytes} MB): free some "
    "space and restart, or set HF_HOME to a folder on another disk.": (
        "{folder} の空き容量が SAM {name}（{megabytes} MB）に足りないため、小型のセグメンターを使っています。"
        "空き容量を増やすか、HF_HOME に別のディスクのフォルダーを設定して、スタジオを再起動してください。"
    ),
    "The small segmenter is in use, because SAM {name} arrived damaged: restart to download it anew, or "
    "set BREAKASCENE_SAM to a copy of {file}.": (
        "ダウンロードした SAM {name} が破損していたため、小型のセグメンターを使っています。スタジオを再起動すると"
        "もう一度ダウンロードします。手元の {file} を BREAKASCENE_SAM に設定することもできます。"
    ),
    "The small segmenter is in use, because SAM {name} could not be downloaded: connect to the internet and restart, "
    "or set BREAKASCENE_SAM to a copy of {file}.": (
        "SAM {name} をダウンロードできなかったため、小型のセグメンターを使っています。インターネットに接続して"
        "スタジオを再起動するか、手元の {file} を BREAKASCENE_SAM に設定してください。"
    ),
    "Evaluations use the toybox's judge, because {name} cannot be loaded: set {variable} to the folder of a CLIP or "
    "DINO model, and restart.": (
        "{name} を読み込めないため、評価にはトイボックスの判定モデルを使っています。{variable} に CLIP または DINO の"
        "フォルダーを設定し、スタジオを再起動してください。"
    ),
    "Evaluations use the toybox's judge, because {name} is still being downloaded: evaluate again in a few minutes.": (
        "{name} のダウンロード中のため、トイボックスの判定モデルを使いました。数分後にもう一度評価してください。"
    ),
    "Evaluations use the toybox's judge, because there is no room for {name}: free some space and restart, or "
    "set HF_HOME to a folder on another disk.": (
        "空き容量が {name} に足りないため、評価にはトイボックスの判定モデルを使っています。空き容量を増やすか、HF_HOME "
        "に別のディスクのフォルダーを設定して、スタジオを再起動してください。"
    ),
    "Evaluations use the toybox's judge, because {name} could not be downloaded: connect to the internet and restart, "
    "or set {variable} to its folder.": (
        "{name} をダウンロードできなかったため、評価にはトイボックスの判定モデルを使っています。"
        "インターネットに接続してスタジオを再起動するか、{variable} に手元のフォルダーを設定してください。"
    ),
}
