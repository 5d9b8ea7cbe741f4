// torch.ops.pytorch_ext.products: tensors to pointers, through torch's stable ABI.
#include "ops/products/products.h"

#include <vector>

#include "pytorch_ext/calls.h"
#include "pytorch_ext/tensor_lists.h"

namespace pytorch_ext {
namespace {

snakelm::Factor factor_of(const Tensor& matrix) {
  check(matrix.dim() == 2 && matrix.is_cpu() && matrix.scalar_type() == ScalarType::Float,
        "products: float32 matrices on the CPU expected");
  return {static_cast<const float*>(matrix.const_data_ptr()), matrix.stride(0), matrix.stride(1)};
}

snakelm::Summand summand_of(const Tensor& left, const Tensor& right) {
  const snakelm::Summand summand{factor_of(left), factor_of(right), left.size(1)};
  check(right.size(0) == summand.depth, "products: factors [M, K] and [K, N] expected");
  return summand;
}

}  // namespace

// Each left times its right, or the sum of all of them.
Tensors products(Tensors lefts, Tensors rights, bool summed, int64_t level) {
  check(!lefts.empty() && lefts.size() == rights.size(),
        "products: as many left as right factors expected, one or more");
  Tensors made;
  std::vector<snakelm::Product> problems;
  for (size_t i = 0; i < lefts.size(); ++i) {
    const snakelm::Summand summand = summand_of(lefts[i], rights[i]);
    const int64_t rows = lefts[i].size(0), columns = rights[i].size(1);
    if (i == 0 || !summed) {
      made.push_back(new_dense(lefts[i], {rows, columns}));
      problems.push_back(
          {rows, columns, {summand}, static_cast<float*>(made.back().mutable_data_ptr())});
      continue;
    }
    check(rows == problems[0].rows && columns == problems[0].columns,
          "products: summands of one shape expected");
    problems[0].summands.push_back(summand);
  }
  raise_if(snakelm::products_cpu(problems, static_cast<int>(level), threads(), parallel));
  return made;
}

}  // namespace pytorch_ext

STABLE_TORCH_LIBRARY_FRAGMENT(pytorch_ext, m) {
  m.def("products(Tensor[] lefts, Tensor[] rights, bool summed, int level) -> Tensor[]");
}

STABLE_TORCH_LIBRARY_IMPL(pytorch_ext, CPU, m) {
  m.impl("products", TORCH_BOX(&pytorch_ext::products));
}
