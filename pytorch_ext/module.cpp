// What belongs to no operator: what this build and this CPU have, and an empty Python module.
//
// The operators register themselves with torch when the library is opened, and pytorch_ext opens it
// with torch.ops.load_library, which needs no Python API. So Python.h is optional: without the
// headers (a bare Debian has none) the library is the same, less the module around it that makes
// `import pytorch_ext._C` work too.
#include <torch/csrc/stable/library.h>

#include "common/isa.h"

namespace {

// As snakelm::isa_level, for any number: one too large for an int is no instruction set either.
int64_t isa_level(int64_t wanted) {
  const bool known = wanted >= -1 && wanted < snakelm::ISA_COUNT;
  return snakelm::isa_level(known ? static_cast<int>(wanted) : snakelm::ISA_COUNT);
}

bool has_cuda() {
#if defined(SNAKELM_WITH_CUDA)
  return true;
#else
  return false;
#endif
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("isa_level(int wanted) -> int");
  m.def("has_cuda() -> bool");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CompositeExplicitAutograd, m) {
  m.impl("isa_level", TORCH_BOX(&isa_level));
  m.impl("has_cuda", TORCH_BOX(&has_cuda));
}

#if __has_include(<Python.h>)
#define Py_LIMITED_API 0x030B0000  // 3.11: one _C.abi3.so for every later Python
#include <Python.h>

PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                   "_C",
                                   "Operators of pytorch_ext; see torch.ops.pytorch_ext.",
                                   -1,
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   nullptr};
  return PyModule_Create(&definition);
}
#endif
