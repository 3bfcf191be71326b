"""UI texts in English, one name for each: plain product words, and errors that say what to do."""

from breakascene.evaluation.report_texts import TEXTS as REPORT  # noqa: F401, the report is part of the studio

TAGLINE = "Select objects in one photo, extract them, and generate images of them in new scenes."

# Base model
TOYBOX_BANNER = (
    "<b>Base model: toybox</b>, a small model that comes with this app. It generates small images of toy-like "
    "objects: good for trying everything out in minutes, not suited to real-life photos."
)
BASE_BANNER = "<b>Base model: {name}</b>. Images of {size} × {size} pixels, on {device}."
SWITCH_TITLE = "Use another base model"
BASE_INFO = (
    "The base model generates the images; for real-life photos, choose a Stable Diffusion model. An object set belongs "
    "to the base model that it was extracted on."
)
BASE_FIXED = (
    "On this host the base model cannot be changed from the page. Its operator can allow others with "
    "<code>BREAKASCENE_BASES</code>. On a computer of your own, start the studio with <code>python app.py</code>."
)
BASE_CURRENT = "{name} (in use)"
BASE_NEEDS_CPU = "Runs on any computer."
BASE_NEEDS_GPU = "Needs a GPU with {gigabytes} GB of memory."
BASE_NO_GPU = "This computer has none: very slow."
BASE_SIZE, BASE_DOWNLOAD = "{gigabytes:.1f} GB", "{gigabytes:.1f} GB to download once"
BASE_DOWNLOAD_UNKNOWN = "to download once"
BASE_LICENSE = "license: {license}"
BASE_HUB_ID = "Or another model of the Hugging Face Hub"
BASE_HUB_ID_INFO = (
    "Its name, as owner/model: Stable Diffusion 1.x, 2.x or SDXL with .safetensors weights. Check its license before "
    "you download it."
)
BASE_USE = "Use this base model"
BASE_DOWNLOADING = "{name} is being downloaded ({share:.0%}). Until then you can go on with the current base model."
BASE_SWITCHING = "{name} is being loaded. The page reloads once it is ready."
BASE_FAILED = "{name} is not in use. {error}"
RUN_BASE = "Base model: {name}"
RUN_OTHER_BASE = (
    "These objects were extracted on the base model {name}. To generate images of them, choose it at the top of the "
    "page, or extract them again."
)
SEGMENTER_DOWNLOADING = (
    "SAM {name} is being downloaded for precise masks ({share:.0%}). Until it is ready, the small segmenter is used; "
    "the studio switches over by itself."
)
DOWNLOAD_RETRIED = " The studio also tries the download again by itself."
JUDGE_DOWNLOADING = (
    "{name} is being downloaded for evaluations ({share:.0%}). Until it is ready, the toybox's judge is used; the "
    "studio switches over by itself."
)

LOADING = "Loading…"

# 1 Select
TAB_SELECT = "1 · Select"
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
    ("Crop", "crop"),
]  # fmt: skip
STROKE_WIDTH = "Stroke width (% of the photo)"
UNDO, REDO, CLEAR = "Undo", "Redo", "Clear"
INVERT = "All but this"
MASK_FILES = "Masks as files"
MASK_FORMAT = "Format"
MASK_FORMATS = {  # of data.mask_files.FORMATS
    "scene": "Masks with names",
    "cutouts": "Cut-outs",
    "onetrainer": "OneTrainer",
    "coco": "COCO JSON",
}
DOWNLOAD_MASKS, IMPORT_MASKS = "Download masks (zip)", "Import masks"
SMALLER_AREA, LARGER_AREA = "Smaller area", "Larger area"
ROTATE = "Rotate photo"
CANVAS = "Photo with the masks"
ZOOM = {"+": "Zoom in", "−": "Zoom out", "⤢": "Fit photo"}
COORDINATES = "Click by coordinates"
COORDINATES_X, COORDINATES_Y = "Pixels from the left", "Pixels from the top"
COORDINATES_APPLY = "Apply the tool"
MASK_AREAS = "Share of the photo: {shares}"
FIND_OBJECTS = "Find objects"
SAMPLE_MASKS = "Use sample masks"
PROPOSALS = "Objects found. Click the ones to select."
NO_PROPOSALS = "No separate objects were found in this photo: click them yourself."
ADD_OBJECT = "Add object"
SELECTED_OBJECTS = "Selected objects"
NAME_HINT = "Name, for example: fox"
INNERMOST = "Inner object on top"
INNERMOST_INFO = "For an object inside another, or a pattern on it: the overlap belongs to the smaller one alone."
BACKGROUND = "Extract the background too"
BACKGROUND_INFO = "Adds a handle for the scene around the objects."
OTHER_PHOTO = "Choose another photo"
RESTORE_PHOTO = "←  Back to the previous photo"
TO_EXTRACT = "Next: Extract  →"
DOWNLOAD_CUTOUTS = "Download cut-outs"

HINT_START = "Choose a sample or upload a photo."
HINTS = {  # of the tools
    "include": "Click {object} in the photo.",
    "exclude": "Click a part of the mask that does not belong to {object}.",
    "box": "Drag a box around {object}.",
    "paint": "Drag over {object} to add to its mask.",
    "erase": "Drag over the parts to remove from the mask of {object}.",
    "crop": "Drag a rectangle around the part of the photo to keep.",
}
HINT_CORNER = "Click the opposite corner."
HINT_STRUGGLES = (
    "The segmenter struggles with this object. What helps: a box around it, the brush and the eraser, or a photo that "
    "is cropped closer or shows the object more clearly."
)
HINT_LARGER_SEGMENTER = "The embedded segmenter is small; one of Meta’s SAM models (BREAKASCENE_SAM) does better."
HINT_SELECTED = "Click again to add a missing part. Then name the object, add another one, or continue."
OBJECT_NUMBER = "object {n}"

# Before something is deleted
DELETE, CANCEL = "Delete", "Cancel"
CONFIRM_DELETE_SET = "Delete the object set “{name}”? Its images stay in the gallery. This cannot be undone."
CONFIRM_DELETE_EXTRACTION = "Delete this extraction and its progress? This cannot be undone."
CONFIRM_DELETE_IMAGE = "Delete this image? This cannot be undone."
CONFIRM_DELETE_IMAGES = "Delete the selected images ({n})? This cannot be undone."

# 2 Extract
TAB_EXTRACT = "2 · Extract"
EXTRACT_EMPTY = "No object is selected yet. Go back to step 1 and click one in a photo."
EXTRACT_INFO = "The base model is fine-tuned on these objects. Each gets a handle to use in prompts."
PRESET = "Preset"
PRESETS = {
    "light": ("Light", "The best likeness. On the toybox: 88\u00a0% of single objects right"),
    "quick": ("Quick", "A first impression in a quarter of the time. On the toybox: 70\u00a0% of single objects right"),
    "paper": (
        "Paper",
        "For comparison: the published method, the slowest. On the toybox: 33\u00a0% of single objects right at a "
        "quarter of its steps",
    ),
}
PRESET_TIME = "{time} on this machine"
PRESET_TOO_LONG = "longer than this Space allows"
MEMORY_MODE_CHANGED = (
    "Memory ran out, so the extraction continues in a slower mode that needs less. No progress is lost."
)
PRESET_MEMORY = "{gigabytes:.1f} GB of memory"
ADVANCED = "Advanced"
STEPS_PHASE_1 = "Phase 1: steps (handles only)"
STEPS_PHASE_2 = "Phase 2: steps (handles and model)"
STEPS_INFO = "Leave empty to use the preset's value."
SEED = "Seed"
EXTRACT = "Extract"
EXTRACT_AGAIN = "Extract again"
STOP = "Stop"
STOPPING = "Stopping…"
RESUME = "Resume"
PREVIEW_NOW = "Preview now"
DELETE_EXTRACTION = "Delete this extraction"
OTHER_DEVICE = "Continue on another device"
SESSION_LINK = "Link to this session"
SESSION_LINK_INFO = "Jobs continue when you close this page. Open the link on any device to return to them."
SESSION_LINK_HINT = (
    "Keep the link private: anyone who has it can see your photo and images. Other devices can reach the studio "
    "if it was started with <code>--host 0.0.0.0</code>."
)
INTERRUPTED = "The studio closed before the extraction was done. Your photo and masks are kept: extract again."
INTERRUPTED_RESUMABLE = (
    "The studio closed before the extraction was done. Your photo, your masks and most of the progress are kept: "
    "resume it."
)
TO_GENERATE = "Next: Generate  →"

WAITING = "You are number {n} in the queue. The job starts automatically; you can close this page and come back."
STARTING = "Starting…"
JOB_KINDS = {
    "extract": "Extraction",
    "generate": "Images",
    "evaluate": "Evaluation",
    "export": "Export",
    "pilot": "Pilot",
}
QUEUE_POSITION = "number {n} in the queue"
STARTS_IN = "starts in {time}"
PHASE = {1: "Phase 1: training the handles", 2: "Phase 2: training the handles and the model"}
GROUP = "Group {n} of {count}. {phase}"
GROUPS_INFO = (
    "More than {most} objects are extracted in groups of neighbors, here {count}, one after the other, "
    "and are then used as one object set."
)
GENERATING_PRIOR = "Preparing phase 2: generating reference images…"
TIME_LEFT = "{left} left"
MINUTES, SECONDS = "about {n} min", "about {n} s"
LIST_SEPARATOR = ", "
EXTRACTED = "Done."
COMPARING = "Comparing the result with your photo…"
SENTENCE_SEPARATOR = " "  # between two sentences
VERDICTS = {  # of evaluation.verdict; None: not judged
    "right": "Looks right: {names}.",
    "partly": "Partly right: {names}.",
    "unrecognizable": "Not recognizable: {names}.",
    None: "Compare with your photo: {names}.",
}
VERDICT_LEVELS = {"right": "looks right", "partly": "partly right", "unrecognizable": "not recognizable"}
VERDICT_CAPTION = "Left: your photo. Right: new images of the same object."
CUTOUT = "cut-out from the photo"
HELP_TITLE = "What helps:"
HELP_BASE = "Use a base model for real photos, such as Stable Diffusion: see “Use another base model” above."
HELP_MASK = "Check the masks in step 1: each should cover its whole object and nothing else."
HELP_LIGHT = "Extract again with “Light”."
UNFAMILIAR_PHOTO = (
    "This photo is unlike the toy-like images that this base model knows: new images will hardly resemble your "
    "objects. For real photos, use a base model such as Stable Diffusion: see “Use another base model” above."
)
STOPPED_KEPT = "Stopped at step {step} of {total}. The result so far is saved and can be used."
STOPPED_EARLY = "Stopped before the first step."
FAILED = "Failed: {error}"
LOSS_CURVES = "Training losses, each on a separate scale (lower is better)"
LOSSES = {"reconstruction": "reconstruction", "attention": "attention", "prior": "prior preservation"}
ATTENTION_MAP = "attention map"
PREVIEW = "preview"
PREVIEW_STRIP = "Left: attention map. Right: previews in the course of training."

# Consent
CONSENT_TITLE = "People and brands in the photo"
CONSENT_QUESTION = "Does the photo show a person or a brand?"
CONSENT_SHOWN, CONSENT_NOBODY = "Yes", "No"
CONSENT_WHO = "Who agreed to the use"
CONSENT_SCOPE = "What they agreed to"
CONSENT_SCOPE_HINT = "For example: images for our spring catalog"
CONSENT_UNTIL = "Until when (the last day)"
CONSENT_INFO = (
    "The answer is saved with the object set and in each image. After the last day no more images are generated. Do "
    "not use photos of children or of public figures."
)
FACE_FOUND = "A face was found in the photo. Answer “People and brands in the photo” below before you extract."
FACE_FOUND_REQUIRED = (
    "A face was found in the photo. Say under “People and brands in the photo” below who agreed: without an answer it "
    "cannot be extracted."
)
FACE_REFUSED = "A face was found in the photo, and this studio does not take photos of people: use another photo."

# 3 Generate
TAB_GENERATE = "3 · Generate"
GENERATE_EMPTY = "No objects are extracted yet: finish step 2 first."
ADDED_SETS, ADDED_SETS_INFO = "Add object sets", "Combine objects of several photos in one image."
OBJECT_SET = "Object set"
DATE_FORMAT = "%b %d, %H:%M"
PROMPT = "Prompt"
PROMPT_HINT = "a photo of <asset0> at the beach"
PROMPT_INFO = "Short, plain English works best."
PROMPT_HISTORY = "Recent prompts"
RESTORE_SETTINGS = "Drop an image that was generated here to restore its prompt and settings"
IMAGE_WITHOUT_SETTINGS = "This file has no settings of this studio: drop a PNG that was downloaded here."
HINT_NO_OBJECT = "None of your objects is in the prompt: insert one with its button below."
HINT_ONLY_NEGATIVE = "{name} is only in the negative prompt, so it is kept out of the images."
HINT_TWICE = "{name} is in the prompt more than once, so it may appear more than once."
HINT_CUT_OFF = "The prompt is too long and {handle} is cut off: shorten it, or move {handle} to the front."
HINT_ENGLISH = "The base model only understands English: write the prompt in English, or use the buttons below."
HINT_UNKNOWN_WORDS = "The toybox does not know these words: {words}. Use the places and styles on the buttons below."
INSERT_OBJECT = "Insert an object:"
PLACES_TITLE = "Place:"
TOYBOX_PLACES = {  # text in the prompt -> label of its button
    place: place
    for place in (
        "at the beach", "in the snow", "on the grass", "in the desert", "on a wooden table",
        "in front of a brick wall", "under the night sky", "under water", "in the forest", "in the street",
        "at sunset", "in the kitchen",
    )
}  # fmt: skip
STYLES_TITLE = "Style:"
TOYBOX_STYLES = {
    style: style for style in ("a photo", "a black and white photo", "an old photo", "a pencil drawing", "a painting")
}
SD_PLACES = {  # for Stable Diffusion, which knows more places and their light
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
SD_STYLES = {
    "a photo": "a photo",
    "a close-up photo": "a close-up",
    "a side-view photo": "side view",
    "a top-down photo": "from above",
    "a black and white photo": "black and white",
    "a watercolor painting": "watercolor",
    "an oil painting": "oil painting",
    "a pencil drawing": "pencil drawing",
    "a picture-book illustration": "picture book",
    "a 3D render": "3D render",
}
IMAGE_COUNT = "Number of images"
TOYBOX_VARIETY = (
    "On the toybox they differ little: it only knows fixed sizes and positions. Vary the place or the style instead."
)
SHAPE = "Shape"
SHAPES = {"square": "Square", "wide": "Wide", "tall": "Tall"}
GENERATE = "Generate"
VARIATIONS, BACKGROUND_ONLY = "Variations of the photo", "Background only"
LAYOUT = "Place objects"
LAYOUT_HINT = (
    "Add objects, drag them, and scale them at their lower right corner. Keys: arrows move, + and − scale, M mirrors, "
    "Page Up and Page Down change the order, Delete removes. The prompt needs the same objects."
)
LAYOUT_TOOLS = {
    "smaller": "Smaller",
    "larger": "Larger",
    "mirror": "Mirror",
    "front": "Forward",
    "back": "Backward",
    "remove": "Remove",
}
LAYOUT_STRENGTH, LAYOUT_STRENGTH_INFO = "Strength", "Less keeps the shapes and colors of the cut-outs."
LAYOUT_GENERATE = "Generate with this layout"
DETAIL_LAYOUT = "placed objects"
LAYOUT_EMPTY = "No object is placed: add one with its button."
STRENGTH = "Strength of variations"
STRENGTH_INFO = "How far variations depart from the photo"
INFERENCE_STEPS = "Steps"
GUIDANCE_SCALE = "Guidance scale (how closely to follow the prompt)"
LORA, LORA_SCALE = "LoRA of another program (.safetensors)", "LoRA strength"
NEGATIVE_PROMPT = "Negative prompt (what to keep out)"
DETAIL_GUIDANCE, DETAIL_STRENGTH, DETAIL_NEGATIVE = "guidance", "strength", "without"
SEED_INFO = "The same seed and settings give the same image. A new seed is chosen each time unless you keep it."
KEEP_SEED = "Keep this seed"
SEED_KEPT = "Seed {seed} is kept under Advanced: change the prompt, then generate."
SETTINGS_USED = "The prompt and all settings of that image are set."
GENERATING = "Generating image {n} of {count}…"
GENERATED = "{n} of {count} generated. Click an image to enlarge, compare or download it, or to reuse its settings."
SHEET = "Contact sheet: each object in each style and place"
SHEET_HINT = (
    "Generates your prompt for every combination of the objects, styles and places selected here, and puts the images "
    "on one sheet. Enter one prompt per line to add rows, such as different views."
)
SHEET_OBJECTS = "Objects (columns)"
SHEET_STYLES = "Styles (rows; none: as in your prompt)"
SHEET_PLACES = "Places (rows; none: as in your prompt)"
SHEET_COUNT = "Images per combination"
SHEET_GENERATE = "Generate sheet ({n} in total)"
EDIT = "Edit a photo: repaint a region"
EDIT_INFO = (
    "Mark a region of any photo, and describe it and its surroundings in the prompt above. The region is repainted; "
    "the rest of the photo stays exactly as it is."
)
EDIT_TOOLS = [
    ("Box", "rectangle"), ("Include", "include"), ("Exclude", "exclude"), ("Brush", "paint"), ("Eraser", "erase"),
]  # fmt: skip
EDIT_HINTS = {  # of the tools
    "rectangle": "Drag a box over the region to repaint.",
    "include": "Click an object in the photo to repaint it.",
    "paint": "Drag over the region to repaint.",
}
EDIT_MARKED = "{share:.1%} of the photo is repainted."
EDIT_STRENGTH, EDIT_STRENGTH_INFO = "Strength", "Less keeps shapes and colors of what is in the region."
EDIT_START = "Edit the photo"
EDIT_IMAGE = "Edit this image"
DETAIL_EDIT = "edited photo"
UPSCALE, DETAIL_UPSCALE = "Upscale × 2", "upscaled × {factor}"
DOWNLOAD_SHEET = "Download contact sheet"
ALL_IMAGES, FAVORITES = "All images", "Favorites"
ADD_FAVORITE, REMOVE_FAVORITE = "☆ Add to favorites", "★ Remove from favorites"
COMPARE, COMPARE_REMOVE = "Compare", "Remove from comparison"
COMPARE_TITLE = "Comparison:"
COMPARE_HINT = "Choose another image and click “Compare” to see both side by side."
COMPARE_CLEAR = "Clear comparison"
DOWNLOAD_IMAGE = "Download image"
FORMAT, FORMAT_INFO, DOWNLOAD_FORMAT = "Format", "The objects stay in the frame.", "Download in this format"
FORMATS = {  # of generation.formats.NAMES
    "square": "Square",
    "4:5": "4:5",
    "16:9": "16:9",
    "shop": "Shop, 2000 × 2000",
    "story": "Story, 1080 × 1920",
    "banner": "Banner, 1920 × 600",
    "cutout": "Object without background",
}
USE_SEED = "Use this seed"
USE_SETTINGS = "Use all settings"
DOWNLOAD_FAVORITES = "Download favorites (zip)"
DOWNLOAD_ALL = "Download all (zip)"
LIBRARY = "Library of this machine"
LIBRARY_INFO = (
    "Object sets that are kept for all sessions, and for the command line. Select one to use it here. "
    "A set goes in with the name and tags that it has under “Object sets”."
)
LIBRARY_SEARCH = "Search names, objects and tags"
LIBRARY_ADD = "Add this object set"
LIBRARY_ADDED = "“{name}” is in the library."
LIBRARY_EMPTY = "The library is empty: add an object set."
LIBRARY_NOTHING = "No object set has all of these words."
OBJECT_SETS = "Object sets: name, export, import, delete"
OPEN_PHOTO = "Open photo in step 1"
SET_NAME = "Name"
SET_TAGS = "Tags, separated by commas"
SET_SAVE = "Save"
SET_EXPORT = "Export"
SET_IMPORT = "Import"
SELECT_IMAGES, SELECT_DONE = "Select images", "End selection"
DOWNLOAD_SELECTED = "Download selected ({n})"
DELETE_SELECTED = "Delete selected ({n})"
DELETE_IMAGE = "Delete image"
EMPTY_GALLERY = "Images appear here one by one."

# Evaluate
EVALUATE_TITLE = "Evaluate: compare images with your photo"
EVALUATE_HINT = "Generates the objects in four places, alone and together, and measures how well they match your photo."
EVALUATE = "Evaluate"
EVALUATING = "{n} of {count} images generated and compared"
EVALUATE_STOPPED = "Stopped: nothing was changed."
NOT_JUDGED = "Not judged: {names} (the judge does not know such objects: look at the images below)."
JUDGED_SHARE = " ({n} of {count} images judged)"
RECOGNIZED = "{name}: recognized in {n} of {count} images"
METRICS = {  # of evaluation.metrics: in plain words, and whether it is a share
    "right": ("right object, generated alone", True),
    "together_right": ("all objects right, generated together", True),
    "mixed": ("mixed up with another object of the photo", True),
    "place": ("right place", True),
    "identity": ("likeness to the photo (identity, at most 1)", False),
    "prompt": ("match with the prompt (at most 1)", False),
}
TABLE_METRIC, TABLE_RESULT = "metric", "result"
MEASURED_BY, TOYBOX_JUDGE = "{metric}, by {model}", "the toybox's judge"
CONFUSION = "What each object was recognized as:"
CONFUSION_REQUESTED = "requested"
CONFUSION_OTHER = {"something else": "something else", "nothing": "nothing"}  # metrics.OTHER, metrics.NOTHING
DOWNLOAD_REPORT = "Download report"

# Export
EXPORT_TITLE = "Export to other programs"
EXPORT_HINT = (
    "Saves the objects as a LoRA and embeddings, with example images and a README that lists the steps and prompts "
    "for the program."
)
EXPORT_PROGRAM = "Program"
EXPORT_PROGRAMS = {  # of exporting.readme.PROGRAMS
    "diffusers": "diffusers (Python)",
    "comfyui": "ComfyUI",
    "a1111": "AUTOMATIC1111, Forge",
    "kohya": "InvokeAI, SD.Next and others",
}
EXPORT = "Export"
EXPORTING = "Exporting…"
EXPORTED = "Exported. In prompts of the program, write {tokens}."
EXPORT_LEFT_OUT = "The program cannot take {n} of the weights; the README lists them."
EXPORT_STOPPED = "Stopped: nothing was exported."
EXPORT_DOWNLOAD = "Download export (zip)"

# Provenance
PROVENANCE_TITLE = "Origin of images, and your data"
ORIGIN_TITLE = "Origin of images"
SIGNED = "Images are signed by {organization}: anyone can check where they come from and whether they were changed."
NOT_SIGNED = "Images say that a model generated them, but they are not signed: a change cannot be noticed."
VERIFY_FILE = "Drop an image here to check where it comes from"
VERIFICATION = {  # by Verification.state
    "ours": "It is signed by {signer} with the key of this studio, and unchanged since.",
    "foreign": "It is signed by {signer} with another key than this studio's, and unchanged since.",
    "changed": "It was changed after it was signed.",
    "expired": "It is signed by {signer} and unchanged since, but the certificate has expired.",
    "unsigned": "It is not signed, so whether it was changed cannot be checked.",
    "unknown": "It has no content credentials: nothing says where it comes from.",
}
SOURCES = {  # by the digital source type of IPTC
    "trainedAlgorithmicMedia": "The image was generated by a model.",
    "compositeWithTrainedAlgorithmicMedia": "The image was edited with a model.",
}
UNNAMED_SIGNER = "an unnamed signer"
DATA_TITLE = "Your data"
DATA_KEPT = "Your photos, masks, object sets and images stay on this studio's disk until you delete them."
DATA_KEPT_DAYS = "Photos, masks, object sets and images are deleted after {n} days."
DATA_KEPT_HOURS = "A session that is not used for {n} hours is deleted."
ACTIONS_LOGGED = "What is done here is recorded in a log, with hashes of photos and images, but without their pixels."
DELETE_DATA = "Delete my data…"
DELETE_DATA_QUESTION = (
    "Delete your photos, masks, object sets and images from this studio for good, and stop your jobs? Download first "
    "what you want to keep."
)

# Pilot
TAB_PILOT = "Pilot"
PILOT_INFO = (
    "Take many photos through all steps at once: objects are extracted, images of your prompts generated and measured, "
    "and a report says whether it works for your photos, how long it takes and what it costs."
)
PILOT_FILES = "Photos"
PILOT_FILES_INFO = (
    "Masks may come with the photos, as PHOTO.mask.png or as COCO JSON; other photos get automatic masks, which you "
    "can review. A plan (.yaml) among the files takes the place of the fields below; its photos lie in photos."
)
PILOT_PROMPTS = "Prompts"
PILOT_PROMPTS_INFO = (
    "One per line. {object} stands for each object in turn, {objects} for all objects of a photo together."
)
PILOT_PRESETS = "Presets to compare"
PILOT_COUNT = "Images for each prompt"
PILOT_NOBODY = "No person and no brand is shown in any of the photos"
PILOT_PRICES = "Prices"
PILOT_PRICES_INFO = "With them, the report says what a photo and a usable image cost."
PILOT_CURRENCY = "Currency"
PILOT_AMOUNTS = {
    "gpu_hour": "An hour of the machine", "person_hour": "An hour of a person",
    "minutes_per_photo": "Minutes of a person for a photo", "minutes_per_image": "Minutes of a person for an image",
    "reshoot": "An image from another photo shoot",
}  # fmt: skip
PILOT_CREATE = "Create pilot"
PILOT_SAMPLE = "Try it with six sample photos"
PILOT_NAME = "Pilot"
PILOT_ABOUT = "Photos: {n}. Presets: {presets}."
PILOT_ABOUT_PROMPTS = "Prompts: {n}."
PILOT_ABOUT_AUTOMATIC = "Photos without masks: {n}. They get automatic ones, which you can review before you start."
PILOT_START = "Start"
PILOT_RETRY = "Retry failed photos"
PILOT_PLAN_DOWNLOAD = "Download plan"
PILOT_DELETE = "Delete pilot"
PILOT_DELETE_QUESTION = "Delete this pilot with its photos and results?"
PILOT_PROGRESS = "{n} of {total} photos done."
PILOT_FAILED = "{n} could not be processed."
PILOT_FINISHED = "The report is ready."
PILOT_STOPPED = "Finished photos are kept."
PILOT_STOPPED_NOTHING = "Stopped."
PILOT_REVIEW = "Review masks"
PILOT_REVIEW_INFO = (
    "Accept, correct or reject each automatic mask and name the objects, then save the review. The next start takes "
    "these masks."
)
PILOT_REVIEW_START = "Find masks"
PILOT_REVIEW_READY = "The masks of {n} photos can be reviewed under “Review masks”."
PILOT_FINDING_MASKS = "Finding masks"
PILOT_REVIEW_FILE = "Saved review (review.json)"
PILOT_REVIEW_ADDED = "The review of {n} photos is saved."
PILOT_REPORT = "Report"
PILOT_REPORT_SHOW = "Show report"
PILOT_VOTE = "Vote"
PILOT_VOTE_INFO = (
    "Colleagues say blindly which images they would use. Vote here, or download the page, send it to them, and add the "
    "files that they send back. The report counts the votes."
)
PILOT_VOTE_SHOW = "Vote here"
PILOT_VOTE_DOWNLOAD = "Download page"
PILOT_VOTE_FILES = "Saved votes"
PILOT_VOTES_ADDED = "Votes of {names} added. Voters so far: {n}."
PILOT_AB = "A/B test"
PILOT_AB_INFO = (
    "Generate two to six variants of the objects of each photo for an ad platform. After the campaign, drop its "
    "results here: a CSV with the columns variant, impressions, clicks and, if you like, conversions."
)
PILOT_VARIANTS = "Variants"
PILOT_VARIANTS_START = "Generate variants"
PILOT_GENERATING = "Generating variants"
PILOT_VARIANTS_READY = "{n} images are ready to download."
PILOT_VARIANTS_DOWNLOAD = "Download variants (zip)"
PILOT_AB_FILE = "Results of the campaign (CSV)"
PILOT_AB_COLUMNS = {  # by the rate that is compared
    "clicks": ["variant", "clicks of impressions", "95 % interval", "impressions"],
    "conversions": ["variant", "conversions of clicks", "95 % interval", "clicks"],
}
PILOT_AB_OUTCOMES = {
    "winner": "{rate}: {first} wins (p = {p}).",
    "empty": "{rate}: not decided, there are no {unit} of two variants yet.",
    "equal": "{rate}: not decided, the first two do not differ. Choose by other reasons.",
    "needed": "{rate}: not decided, about {n} more {unit} for each of the first two are needed.",
}

# Administration
QUEUE_TITLE = "Operation: queue and failures"
REFRESH = "Refresh"
JOBS_TITLE, FAILURES_TITLE = "Jobs", "Last failures"
JOB_STATES = {"running": "running", "waiting": "waiting"}
JOB_COLUMNS = ["job", "visitor", "state", "jobs before it"]
FAILURE_COLUMNS = ["time", "job", "visitor", "error"]
NO_JOBS, NO_FAILURES = "No job is running or waiting.", "No job has failed since the studio was started."
LOG_TITLE = "Audit log"
LOG_FIRST, LOG_LAST = "From (UTC)", "To (UTC)"
LOG_SHOW, LOG_DOWNLOAD = "Show entries", "Download entries (CSV)"
LOG_COLUMNS = ["no.", "time (UTC)", "who", "action", "details"]
LOG_ACTIONS = {
    "extract": "extraction started", "extracted": "extraction ended", "generate": "image generated",
    "download": "download", "export": "export", "delete": "deletion", "login": "login", "repair": "log repaired",
}  # fmt: skip
LOG_COUNT = "The last {n} of {count} entries of this period:"
LOG_COMPLETE = "The log has {n} entries; it is complete and unchanged."
LOG_FAULTS = {  # by Fault.kind
    "changed": "Changed entries: {entries}.",
    "removed": "Removed entries: {entries}.",
    "added": "Added line: {entries}. It is not the entry that was written there.",
    "cut": "The end was cut off. Missing entries: {entries}.",
    "headless": "head.json is missing or damaged, so that a cut end cannot be ruled out.",
}

# Errors: one sentence each, with what to do
QUEUE_FULL = "The queue is full: try again in a few minutes."
NO_RESPONSE = "The studio does not respond: check that it is running, then reload this page."
FILE_TOO_LARGE = "The file has more than {most} MB: make it smaller first."
TOO_MANY_JOBS = "You already have {n} jobs in the queue: wait until one is done."
OBJECT_SET_UNKNOWN = "The object set was not found: finish step 2 first, or choose another object set."
SESSION_UNKNOWN = "The session has expired: reload this page to continue."
NO_PHOTO = "There is no photo yet: choose a sample or upload a photo."
NO_SELECTION = "No object is selected yet: click one in the photo first."
NO_REGION = "Nothing is marked yet: mark the region of the photo to repaint first."
NO_MASK = "There is no mask to change yet: click the object first."
NO_SMALLER = "There is no smaller area to select: choose “Exclude” and click the part to remove."
NO_LARGER = "There is no larger area to select: choose “Include” and click the missing part."
WRONG_FILE_TYPE = "This kind of file cannot be opened here: choose one of the kinds that the field names."
BASE_NOT_ALLOWED = "The base model {name} cannot be chosen here: choose one of the list."
BASE_IN_USE = "The base model {name} is in use already: choose another one."
BASE_CHANGING = "The base model is being changed: try again in a minute."
BASE_NEEDS_IDLE = "A job is waiting or running: change the base model when it has ended."
POINT_OUTSIDE = "This point lies outside the photo ({width} × {height} pixels): enter smaller coordinates."
INCLUDE_FIRST = "There is nothing to remove yet: choose “Include” and click the object first."
NO_OBJECT_FOUND = "No separate object was found here: click closer to its center, or drag a box around it."
BOX_TOO_SMALL = "The box is too small: drag a larger one."
CROP_TOO_SMALL = "This part is too small or too narrow for a photo: drag a larger rectangle."
SELECTION_CHANGED = "The selection was changed meanwhile, and this tab shows it now: click once more."
ALREADY_SELECTED = "This object is already selected: choose another one."
TOO_MANY_OBJECTS = "You can select up to {n} objects: remove one first."
NOTHING_TO_UNDO = "There is nothing to undo: click an object in the photo first."
NOTHING_TO_REDO = "There is nothing to redo: undo something first."
INVALID_STEPS = "Give a number of steps from 0 to {most} for each phase, and more than 0 for at least one."
EXCEEDS_GPU_TIME = "This takes longer than the GPU time of this Space: choose “Quick”, or fewer steps under Advanced."
NOTHING_TO_DELETE = "There is no stopped extraction to delete: go on to step 3, or extract again."
NOTHING_TO_RESUME = "There is no stopped extraction to resume: extract again."
ALREADY_EXTRACTING = "An extraction of yours is already running: wait until it is done, or stop it first."
ALREADY_GENERATING = "Your images are already being generated: wait until they are done, or stop the job first."
JOB_RUNNING = "A job of yours is still running: wait until it is done, or stop it first."
ALREADY_EXPORTING = "The export is already running: wait until it is done, or stop it first."
EXPORT_UNKNOWN = "There is no export to that program: choose one of {known}."
EXPORT_MISSING = "There is no export yet: click “Export” first."
ALREADY_EVALUATING = "The evaluation is already running: wait until it is done, or stop it first."
NO_REPORT = "There is no report yet: click “Evaluate” first."
PROMPT_TOO_LONG = "The prompt is too long: keep it under {most} characters."
UNKNOWN_SHAPE = "The shape is unknown: choose one of {known}."
NO_PROMPT = "There is no prompt yet: enter one, for example “a photo of <asset0> at the beach”."
SHEET_NO_OBJECT = "The prompt has no object to vary: insert one with its button, or clear all objects of the sheet."
SHEET_SEVERAL_OBJECTS = (
    "The prompt names objects in several places: keep one of them, or clear all objects of the sheet."
)
SHEET_TOO_LARGE = "This would be {n} images, and a contact sheet holds {most}: select fewer objects, styles or places."
NO_IMAGE_SELECTED = "No image is selected: click one first."
OBJECT_SET_DELETED = "The object set of this image was deleted: import it again first."
QUOTA_JOBS = "You have started {n} jobs today, as many as each visitor may: go on tomorrow."
QUOTA_DISK = "Your data take {used} MB, and each visitor may use {most} MB: delete object sets or all your data first."
ROLE_REQUIRED = "Your account does not have the role for this: ask the administrator."
NO_LOG = "There is no audit log: start the studio with BREAKASCENE_AUDIT set to a folder."
INVALID_DAY = "This is not a day: write it as YYYY-MM-DD, or leave the field empty."
VERIFY_NO_IMAGE = "This file is not an image that can be read: drop a PNG, JPEG or WebP file."
PILOT_MISSING = "There is no pilot yet: add photos and create one."
PILOT_NOT_RUN = "There are no results yet: click “Start” first."
PILOT_OTHER_BASE = "The plan is for the base model {name}: choose that one at the top of the page, or change the plan."
PILOT_NO_PHOTOS = "There is no photo among the files: add photos."
PILOT_TOO_MANY_FILES = "There is more than one plan, or there are more than {most} files: use fewer."
PILOT_SAME_NAME = "Two files are named {name}: rename one of them."
PILOT_NO_VARIANTS = "There are no variants yet: click “Generate variants” first."
NO_IMAGES = "There are no images to download yet: generate some first."
OUT_OF_MEMORY = "Memory ran out: choose “Quick” or “Light”, or fewer images, and try again."
DISK_FULL = "The disk is full: free some space and try again; your photo and masks are kept."
VISITOR_MEMORY_FULL = (
    "This takes more memory than each visitor may use here ({most} MB): use a smaller photo, or select fewer objects."
)
STUDIO_MEMORY_FULL = (
    "The studio has no memory left for another photo, because many visitors use it: try again in a few minutes."
)
UNEXPECTED = "Something went wrong in the studio, and its log has the details: try again; your work is kept."

# Messages of the other packages, by their templates (strings.translate); those left out stay as they are
MESSAGES = {
    "These concepts were learned on {learned}, not on {base}: load that base, or extract again.": (
        "These objects were extracted with another base model ({learned}): start the studio with that model, "
        "or extract them again."
    ),
    "The saved run differs in {what}: resume with the same, or start a new run.": (
        "The stopped extraction used another base model or other settings: delete it, and extract again."
    ),
}
