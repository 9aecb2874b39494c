"""How a model is deployed: folded, certified, exported to ONNX, validated and bundled.

Modules are imported when a name is first used: ``import export`` needs neither TensorFlow nor onnx.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "benchmark": ["Benchmark", "bench"],
        "bundle_checks": ["validate_bundle"],
        "bundling": ["bundle"],
        "browser_page": ["web"],
        "certificate": ["Certificate", "certify"],
        "checks": ["Check", "Verdict"],
        "errors": ["ExportError"],
        "folding": ["Folded", "fold"],
        "onnx_file": ["to_onnx"],
        "onnx_metadata": ["read_metadata"],
        "quantization": ["Quantized", "quantize"],
        "rebuilding": ["rebuild"],
        "serving": ["serve"],
        "validation": ["validate"],
    },
)
