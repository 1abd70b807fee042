"""The configuration files of a made checkpoint: the real model's fields, in three sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LANGUAGES = {
    "chinese": 2055,
    "english": 2050,
    "german": 2053,
    "italian": 2070,
    "portuguese": 2071,
    "spanish": 2054,
    "japanese": 2058,
    "korean": 2064,
    "french": 2061,
    "russian": 2069,
}
GENERATION = {
    "do_sample": True,
    "repetition_penalty": 1.05,
    "temperature": 0.9,
    "top_p": 1.0,
    "top_k": 50,
    "subtalker_dosample": True,
    "subtalker_temperature": 0.9,
    "subtalker_top_p": 1.0,
    "subtalker_top_k": 50,
    "max_new_tokens": 8192,
}
PREPROCESSOR = {
    "chunk_length_s": None,
    "feature_extractor_type": "EncodecFeatureExtractor",
    "feature_size": 1,
    "overlap": None,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 24000,
}
TRANSFORMERS = "4.57.3"


@dataclass(frozen=True, slots=True)
class StackShape:
    """A stack of transformer layers."""

    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head: int
    ffn: int

    def config(self) -> dict[str, Any]:
        return {
            "num_hidden_layers": self.n_layers,
            "hidden_size": self.hidden,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.head,
            "intermediate_size": self.ffn,
        }


@dataclass(frozen=True, slots=True)
class CodecShape:
    """The widths of the speech tokenizer. Strides, codebooks and windows are the real ones in every size."""

    decoder: StackShape
    latent: int
    codebook: int
    decoder_dim: int
    encoder: StackShape
    encoder_filters: int
    encoder_codebook: int
    encoder_quantizers: int


@dataclass(frozen=True, slots=True)
class Size:
    text_vocab_size: int
    text_hidden: int
    talker: StackShape
    mrope_section: tuple[int, int, int]
    predictor: StackShape
    speaker: Mapping[str, Any]
    codec: CodecShape
    is_bfloat16: bool = False


SMALL_CODEC = CodecShape(
    decoder=StackShape(n_layers=2, hidden=32, n_heads=4, n_kv_heads=4, head=16, ffn=64),
    latent=64,
    codebook=32,
    decoder_dim=64,
    encoder=StackShape(n_layers=2, hidden=32, n_heads=4, n_kv_heads=4, head=8, ffn=64),
    encoder_filters=4,
    encoder_codebook=16,
    encoder_quantizers=18,
)
REAL_CODEC = CodecShape(
    decoder=StackShape(n_layers=8, hidden=512, n_heads=16, n_kv_heads=16, head=64, ffn=1024),
    latent=1024,
    codebook=512,
    decoder_dim=1536,
    encoder=StackShape(n_layers=8, hidden=512, n_heads=8, n_kv_heads=8, head=64, ffn=2048),
    encoder_filters=64,
    encoder_codebook=256,
    encoder_quantizers=32,
)
SMALL_SPEAKER = {
    "enc_channels": [32, 32, 32, 32, 96],
    "enc_attention_channels": 16,
    "enc_se_channels": 16,
}
SIZES = {
    "tiny": Size(
        text_vocab_size=320,
        text_hidden=64,
        talker=StackShape(n_layers=2, hidden=64, n_heads=4, n_kv_heads=2, head=16, ffn=192),
        mrope_section=(4, 2, 2),
        predictor=StackShape(n_layers=2, hidden=64, n_heads=4, n_kv_heads=2, head=16, ffn=192),
        speaker=SMALL_SPEAKER,
        codec=SMALL_CODEC,
    ),
    "mid": Size(
        text_vocab_size=320,
        text_hidden=256,
        talker=StackShape(n_layers=8, hidden=256, n_heads=4, n_kv_heads=2, head=64, ffn=768),
        mrope_section=(12, 10, 10),
        predictor=StackShape(n_layers=2, hidden=256, n_heads=4, n_kv_heads=2, head=64, ffn=768),
        speaker=SMALL_SPEAKER,
        codec=SMALL_CODEC,
    ),
    "full": Size(
        text_vocab_size=151936,
        text_hidden=2048,
        talker=StackShape(n_layers=28, hidden=1024, n_heads=16, n_kv_heads=8, head=128, ffn=3072),
        mrope_section=(24, 20, 20),
        predictor=StackShape(n_layers=5, hidden=1024, n_heads=16, n_kv_heads=8, head=128, ffn=3072),
        speaker={},
        codec=REAL_CODEC,
        is_bfloat16=True,
    ),
}


def model_config(size: Size, token_ids: Mapping[str, int]) -> dict[str, Any]:
    """The checkpoint's config.json. token_ids: `*_token_id` keys, as numbered by the tokenizer beside it."""
    shared = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1_000_000, "num_code_groups": 16}
    predictor = {**size.predictor.config(), **shared, "vocab_size": 2048, "max_position_embeddings": 65536}
    talker = {
        **size.talker.config(),
        **shared,
        "vocab_size": 3072,
        "max_position_embeddings": 32768,
        "text_vocab_size": size.text_vocab_size,
        "text_hidden_size": size.text_hidden,
        "position_id_per_seconds": 13,
        "rope_scaling": {
            "interleaved": True,
            "mrope_section": list(size.mrope_section),
            "rope_type": "default",
            "type": "default",
        },
        "codec_pad_id": 2148,
        "codec_bos_id": 2149,
        "codec_eos_token_id": 2150,
        "codec_think_id": 2154,
        "codec_nothink_id": 2155,
        "codec_think_bos_id": 2156,
        "codec_think_eos_id": 2157,
        "codec_language_id": LANGUAGES,
        "spk_id": {},
        "spk_is_dialect": {},
        "code_predictor_config": predictor,
    }
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "0b6",
        "tts_model_type": "base",
        "speaker_encoder_config": {**size.speaker, "enc_dim": size.talker.hidden, "sample_rate": 24000},
        "talker_config": talker,
        "transformers_version": TRANSFORMERS,
        **token_ids,
    }


def codec_config(size: Size) -> dict[str, Any]:
    """The config.json of speech_tokenizer/."""
    codec = size.codec
    decoder = {
        **codec.decoder.config(),
        "latent_dim": codec.latent,
        "codebook_dim": codec.codebook,
        "codebook_size": 2048,
        "decoder_dim": codec.decoder_dim,
        "num_quantizers": 16,
        "num_semantic_quantizers": 1,
        "sliding_window": 72,
        "upsample_rates": [8, 5, 4, 3],
        "upsampling_ratios": [2, 2],
    }
    encoder = {
        **codec.encoder.config(),
        "model_type": "mimi",
        "num_filters": codec.encoder_filters,
        "codebook_size": 2048,
        "codebook_dim": codec.encoder_codebook,
        "vector_quantization_hidden_dimension": codec.encoder_codebook,
        "num_quantizers": codec.encoder_quantizers,
        "num_semantic_quantizers": 1,
        "upsample_groups": codec.encoder.hidden,
        "upsampling_ratios": [8, 6, 5, 4],
    }
    return {
        "architectures": ["Qwen3TTSTokenizerV2Model"],
        "model_type": "qwen3_tts_tokenizer_12hz",
        "encoder_valid_num_quantizers": 16,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 1920,
        "encode_downsample_rate": 1920,
        "decoder_config": decoder,
        "encoder_config": encoder,
        "transformers_version": TRANSFORMERS,
    }
