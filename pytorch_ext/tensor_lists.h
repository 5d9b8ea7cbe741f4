// Lists of tensors as the optimizer's passes take them: float32 and dense, or they are refused,
// since what is written into can't be a copy.
#pragma once

#include <vector>

#include "pytorch_ext/tensors.h"

namespace pytorch_ext {

using Tensors = std::vector<Tensor>;

inline void check_dense(const Tensor& tensor, ScalarType type) {
  check(tensor.scalar_type() == type && tensor.is_contiguous() && tensor.is_cpu(),
        "contiguous tensors on the CPU expected, float32 but for copies in bfloat16");
}

inline std::vector<int64_t> sizes_of(const Tensors& tensors) {
  std::vector<int64_t> sizes;
  for (const Tensor& tensor : tensors) sizes.push_back(tensor.numel());
  return sizes;
}

// Each of `sizes` numbers.
inline std::vector<const float*> inputs_of(const Tensors& tensors,
                                           const std::vector<int64_t>& sizes) {
  check(tensors.size() == sizes.size(), "lists of equal length expected");
  std::vector<const float*> pointers;
  for (size_t i = 0; i < tensors.size(); ++i) {
    check_dense(tensors[i], ScalarType::Float);
    check(tensors[i].numel() == sizes[i],
          "gradients and moments of the parameters' sizes expected");
    pointers.push_back(static_cast<const float*>(tensors[i].const_data_ptr()));
  }
  return pointers;
}

inline std::vector<float*> outputs_of(Tensors& tensors, const std::vector<int64_t>& sizes) {
  std::vector<float*> pointers;
  for (const float* const pointer : inputs_of(tensors, sizes))
    pointers.push_back(const_cast<float*>(pointer));
  return pointers;
}

// bfloat16; an empty one stands for none.
inline std::vector<void*> copies_of(Tensors& copies, const std::vector<int64_t>& sizes) {
  check(copies.size() == sizes.size(), "a copy for each parameter expected, empty for none");
  std::vector<void*> pointers;
  for (size_t i = 0; i < copies.size(); ++i) {
    check_dense(copies[i], ScalarType::BFloat16);
    const int64_t count = copies[i].numel();
    check(count == 0 || count == sizes[i], "copies of the parameters' sizes expected");
    pointers.push_back(count ? copies[i].mutable_data_ptr() : nullptr);
  }
  return pointers;
}

}  // namespace pytorch_ext
