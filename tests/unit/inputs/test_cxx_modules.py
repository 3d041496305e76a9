"""Which compiled modules a source has gcc read and write."""

from __future__ import annotations

import pytest

from zbuild.inputs.cxx_modules import compiled_modules


@pytest.mark.parametrize(
    ("source", "written", "read"),
    [
        ("export module m;\nexport int f();", ["m"], []),
        ("module;\n#include <x.h>\nexport module a.b;", ["a.b"], []),
        ("module m;\nimport other;", [], ["m", "other"]),
        ("export module m:part;", ["m-part"], []),
        ("module m:part;\nimport :core;\nimport : io ;", ["m-part"], ["m-core", "m-io"]),
        ("export module m;\nexport import :part;\n  import x.y;\nimport x.y;", ["m"], ["m-part", "x.y"]),
        ("export module m [[deprecated]];\nmodule :private;", ["m"], []),
        ('import <vector>;\nimport "x.h";\nint important; int module = 1;', [], []),
    ],
)
def test_they_are_named_after_modules(source: str, written: list[str], read: list[str]) -> None:
    found = compiled_modules(source.encode())
    assert list(found.written) == [f"gcm.cache/{name}.gcm" for name in written]
    assert list(found.read) == [f"gcm.cache/{name}.gcm" for name in read]
