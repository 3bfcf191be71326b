"""The architecture of the embedded segmenter: segment-anything's own Sam with a small image encoder."""

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn


class Stem(nn.Module):
    """ImageEncoderViT's patch embedding with some convolutions beside it: patches of few pixels see no edges well
    ("Early convolutions help transformers see better", arXiv 2106.14881)."""

    def __init__(self, patches: nn.Module, width: int):
        super().__init__()
        self.proj = patches.proj
        self.edges = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(64, 128, 3, 1, 1),
            nn.GELU(),
            nn.Conv2d(128, width, self.proj.stride[0] // 4, self.proj.stride[0] // 4),
        )
        nn.init.zeros_(self.edges[-1].weight)
        nn.init.zeros_(self.edges[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.proj(x) + self.edges(x)).permute(0, 2, 3, 1)  # (B, h, w, width)


def build_sam(config: dict) -> Sam:
    """A Sam with random weights; masks come out at half the image size, before SamPredictor enlarges them."""
    side, prompt = config["image_size"] // config["patch"], config["prompt_width"]
    encoder = ImageEncoderViT(
        img_size=config["image_size"],
        patch_size=config["patch"],
        embed_dim=config["width"],
        depth=config["depth"],
        num_heads=config["heads"],
        out_chans=prompt,
        qkv_bias=True,
        global_attn_indexes=tuple(range(config["depth"])),
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
    )
    encoder.patch_embed = Stem(encoder.patch_embed, config["width"])
    points = PromptEncoder(
        embed_dim=prompt,
        image_embedding_size=(side, side),
        input_image_size=(config["image_size"],) * 2,
        mask_in_chans=8,
    )
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=prompt, mlp_dim=4 * prompt, num_heads=4),
        transformer_dim=prompt,
        iou_head_depth=3,
        iou_head_hidden_dim=prompt,
    )
    return Sam(encoder, points, decoder, pixel_mean=[127.5] * 3, pixel_std=[64.0] * 3)
