// Query or key heads of every position, and the angles that they are turned by (Su et al. 2021,
// arXiv:2104.09864), in the half-split layout of Llama and Qwen checkpoints: pointers and sizes.
//
//   out_i = x_i cos_i - x_j sin_i        out_j = x_j cos_i + x_i sin_i        j = i + D/2
#pragma once

#include <cstdint>

namespace snakelm {

// A [B, T, H, D] array, its last dimension dense; strides in elements.
struct HeadsView {
  const void* data = nullptr;
  int64_t batch = 0, time = 0, head = 0;
};

struct Angles {
  const float *cos = nullptr, *sin = nullptr;  // [T, D/2] dense, or [B, T, D/2]
  bool by_row = false;                         // the latter
};

}  // namespace snakelm
