// Operators as functions of tensors, for operators that are made of others. Each is defined, with
// its checks, in the binding.cpp of its folder.
#pragma once

#include <optional>
#include <tuple>
#include <vector>

#include "pytorch_ext/tensors.h"

namespace pytorch_ext {

Tensor rms_norm_forward(Tensor x, std::optional<Tensor> weight, double eps, int64_t level);
std::tuple<Tensor, Tensor> add_rms_norm_forward(Tensor x, Tensor residual,
                                                std::optional<Tensor> weight, double eps,
                                                int64_t level);
std::tuple<Tensor, Tensor> rms_norm_backward(Tensor grad_out, std::optional<Tensor> grad_sum,
                                             Tensor x, std::optional<Tensor> weight, double eps,
                                             int64_t level);

std::tuple<Tensor, Tensor> qk_norm_rope_forward(Tensor q, Tensor k, Tensor q_weight,
                                                Tensor k_weight, Tensor cos, Tensor sin, double eps,
                                                int64_t level);
std::tuple<Tensor, Tensor, Tensor, Tensor> qk_norm_rope_backward(Tensor grad_q, Tensor grad_k,
                                                                 Tensor q, Tensor k,
                                                                 Tensor q_weight, Tensor k_weight,
                                                                 Tensor cos, Tensor sin, double eps,
                                                                 int64_t level);

std::tuple<Tensor, Tensor> attention_forward(Tensor q, Tensor k, Tensor v,
                                             std::optional<Tensor> row_start, double scale,
                                             int64_t level);
std::tuple<Tensor, Tensor, Tensor> attention_backward(Tensor grad_out, Tensor q, Tensor k, Tensor v,
                                                      Tensor out, Tensor log_sum,
                                                      std::optional<Tensor> row_start, double scale,
                                                      int64_t level);

Tensor swiglu_forward(Tensor gate, Tensor up, int64_t level);
std::tuple<Tensor, Tensor> swiglu_backward(Tensor grad_out, Tensor gate, Tensor up, int64_t level);

std::vector<Tensor> weight_gradients(Tensor x, std::vector<Tensor> gradients, int64_t level);

// No operator of its own: float32, for the decoder's block.
std::vector<Tensor> products(std::vector<Tensor> lefts, std::vector<Tensor> rights, bool summed,
                             int64_t level);

}  // namespace pytorch_ext
