// An empty Python module around the operators, so that `import pytorch_ext._C` works too.
//
// The operators register themselves with torch when the library is opened, and pytorch_ext opens it with
// torch.ops.load_library, which needs no Python API. So Python.h is optional: without the headers (a bare Debian
// has none) the library is the same, less this module.
#if __has_include(<Python.h>)
#define Py_LIMITED_API 0x030B0000  // 3.11: one _C.abi3.so for every later Python
#include <Python.h>

PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", "Operators of pytorch_ext; see torch.ops.pytorch_ext.",
                                   -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}
#endif
