"""The texts of a report in English; the studio has the same in other languages."""

TEXTS = {
    "title": "Evaluation: {names}",
    "models": "The model that gave each figure is named with it.",
    "run": "run",
    "judge": "toybox's judge",
    "metrics": {  # key in scores.json: label
        "prompt": "prompt similarity",
        "identity": "identity similarity",
        "right": "recognized, one concept",
        "together_right": "all recognized, several concepts",
        "place": "place recognized",
        "mixed": "confused with another concept",
    },
    "confusion": "Confusion matrix",
    "concept": "concept",
    "photo": "the photo with its masks",
    "losses": "Training losses",
    "loss names": {
        "reconstruction": "reconstruction",
        "attention": "attention",
        "prior": "prior preservation",
        "total": "total",
    },
    "steps": "{steps} steps on {base}. {settings}.",
    "prompt": "prompt similarity {value:.2f}",
    "identity": "{handle} identity {value:.2f}",
    "recognized": "{handle} identity {value:.2f}, recognized as {name}",
    "place": "place recognized",
    "no place": "place not recognized",
}
