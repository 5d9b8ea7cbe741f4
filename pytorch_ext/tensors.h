// What the bindings of the pointwise operators share: checks, tensors as rows and as
// heads, torch's threads.
//
// Shapes, dtypes and devices are checked in Python, where the error can say what to do; here what
// would read or write out of bounds is checked again.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/element.h"
#include "common/heads.h"

namespace pytorch_ext {

using snakelm::Element;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline void check(bool holds, const char* message) {
  if (!holds) throw std::runtime_error(std::string("pytorch_ext: ") + message);
}

// For what a kernel returns: null, or a message.
inline void raise_if(const char* message) { check(!message, message ? message : ""); }

inline Element element_of(const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  check(type == ScalarType::Float || type == ScalarType::BFloat16,
        "the CPU kernels take float32 and bfloat16");
  return type == ScalarType::Float ? Element::float32 : Element::bfloat16;
}

inline bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.dim() != b.dim()) return false;
  for (int64_t i = 0; i < a.dim(); ++i)
    if (a.size(i) != b.size(i)) return false;
  return true;
}

using Sizes = torch::headeronly::IntHeaderOnlyArrayRef;

inline std::vector<int64_t> dense_strides(Sizes sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0; stride *= std::max<int64_t>(sizes[i], 1))
    strides[i] = stride;
  return strides;
}

// Contiguous, not filled, on the device of `like`. In a tenth of the time of
// torch::stable::new_empty, which finds its operator by name.
inline Tensor new_dense(const Tensor& like, Sizes sizes, ScalarType type) {
  int32_t device = 0;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  const std::vector<int64_t> strides = dense_strides(sizes);
  AtenTensorHandle made = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(),
                               static_cast<int32_t>(type), device, like.get_device_index(), &made));
  return Tensor(made);
}
inline Tensor new_dense(const Tensor& like, Sizes sizes) {
  return new_dense(like, sizes, like.scalar_type());
}

inline Tensor contiguous_like(const Tensor& like) {  // contiguous, unlike torch's own of a view
  return new_dense(like, like.sizes());
}

// The same memory seen otherwise, as fast.
inline Tensor viewed(const Tensor& tensor, Sizes sizes, Sizes strides) {
  AtenTensorHandle made = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch__reinterpret_tensor(
      tensor.get(), static_cast<int64_t>(sizes.size()), sizes.data(), strides.data(), 0, &made));
  return Tensor(made);
}
inline Tensor viewed(const Tensor& contiguous, Sizes sizes) {
  return viewed(contiguous, sizes, dense_strides(sizes));
}

// Numbers in a row: of the last dimension.
inline int64_t width_of(const Tensor& tensor) {
  return tensor.dim() ? tensor.size(tensor.dim() - 1) : 1;
}
inline int64_t row_count(const Tensor& tensor) {
  const int64_t width = width_of(tensor);
  return width ? tensor.numel() / width : 0;
}

// Do all dimensions but the last follow each other in memory like those of one matrix?
inline bool is_matrix(const Tensor& tensor) {
  if (tensor.dim() == 0) return true;
  if (tensor.stride(tensor.dim() - 1) != 1) return false;
  int64_t expected = -1;
  for (int64_t i = tensor.dim() - 2; i >= 0; --i) {
    if (tensor.size(i) == 1) continue;
    if (expected >= 0 && tensor.stride(i) != expected) return false;
    expected = tensor.stride(i) * tensor.size(i);
  }
  return true;
}

// The tensor [..., width] as rows of one distance. Where it doesn't lie so it becomes a copy, which
// the caller's variable keeps alive.
inline snakelm::Rows rows_of(Tensor& tensor) {
  if (!is_matrix(tensor)) tensor = torch::stable::contiguous(tensor);
  int64_t row = 0;  // of a single row, or of one expanded to many
  for (int64_t i = tensor.dim() - 2; i >= 0 && row == 0; --i)
    if (tensor.size(i) != 1) row = tensor.stride(i);
  return {tensor.const_data_ptr(), row};
}

// [width] float32; another layout becomes a copy, which the caller's variable keeps alive.
inline const float* floats_of(Tensor& tensor, int64_t width) {
  check(tensor.dim() == 1 && tensor.size(0) == width && tensor.scalar_type() == ScalarType::Float,
        "a weight float32 of the last dimension's size expected");
  if (!tensor.is_contiguous()) tensor = torch::stable::contiguous(tensor);
  return static_cast<const float*>(tensor.const_data_ptr());
}

// [B, T, H, D] of any strides, as long as the last dimension is dense; else a copy, as above.
inline snakelm::HeadsView heads_of(Tensor& tensor) {
  if (tensor.stride(3) != 1) tensor = torch::stable::contiguous(tensor);
  return {tensor.const_data_ptr(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

// The cosines and sines that turn x [B, T, H, D], [T, D/2] or [B, T, D/2] both; copies as above.
inline snakelm::Angles angles_of(const Tensor& x, Tensor& cos, Tensor& sin) {
  const bool by_row = cos.dim() == 3;
  for (Tensor* angles : {&cos, &sin}) {
    const int64_t dims = angles->dim();
    check(dims == (by_row ? 3 : 2) && angles->scalar_type() == ScalarType::Float &&
              angles->size(dims - 1) == x.size(3) / 2 && angles->size(dims - 2) == x.size(1) &&
              (!by_row || angles->size(0) == x.size(0)),
          "cos and sin float32 [T, D/2] or [B, T, D/2] expected");
    if (!angles->is_contiguous()) *angles = torch::stable::contiguous(*angles);
  }
  return {static_cast<const float*>(cos.const_data_ptr()),
          static_cast<const float*>(sin.const_data_ptr()), by_row};
}

inline void parallel(int64_t n, void (*body)(int64_t, void*), void* context) {
  torch::stable::parallel_for(0, n, 1, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i, context);
  });
}

inline int threads() { return static_cast<int>(torch::stable::get_num_threads()); }

}  // namespace pytorch_ext
