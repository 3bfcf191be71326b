"""Architecture of the embedded segmenter: segment-anything's own Sam with a small image encoder."""

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn


class ConvStem(nn.Module):
    """The patch embedding of ImageEncoderViT with a convolutional branch added to it.

    Small patches alone represent edges poorly ("Early convolutions help transformers see better", arXiv 2106.14881).
    The branch starts at zero.
    """

    def __init__(self, patch_embed: nn.Module, width: int):
        super().__init__()
        self.proj = patch_embed.proj
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
    """Build a Sam with random weights from config.json; its masks have half the resolution of the image."""
    grid, prompt_width = config["image_size"] // config["patch"], config["prompt_width"]
    image_encoder = ImageEncoderViT(
        img_size=config["image_size"],
        patch_size=config["patch"],
        embed_dim=config["width"],
        depth=config["depth"],
        num_heads=config["heads"],
        out_chans=prompt_width,
        qkv_bias=True,
        global_attn_indexes=tuple(range(config["depth"])),
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
    )
    image_encoder.patch_embed = ConvStem(image_encoder.patch_embed, config["width"])
    prompt_encoder = PromptEncoder(
        embed_dim=prompt_width,
        image_embedding_size=(grid, grid),
        input_image_size=(config["image_size"],) * 2,
        mask_in_chans=8,
    )
    mask_decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(depth=2, embedding_dim=prompt_width, mlp_dim=4 * prompt_width, num_heads=4),
        transformer_dim=prompt_width,
        iou_head_depth=3,
        iou_head_hidden_dim=prompt_width,
    )
    return Sam(image_encoder, prompt_encoder, mask_decoder, pixel_mean=[127.5] * 3, pixel_std=[64.0] * 3)
