// The pointwise operators on random sizes, strides, values and instruction sets, in blocks exactly
// as long as their tensors, so that the sanitizer sees what lies beyond; each problem on one thread
// and on three, which must give the same bits.
#include "../fuzz.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "ops/adamw_step/adamw_step.h"
#include "ops/muon_step/muon_step.h"
#include "ops/orthogonalize/orthogonalize.h"
#include "ops/products/products.h"
#include "ops/qk_norm_rope/qk_norm_rope.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rope/rope.h"
#include "ops/swiglu/swiglu.h"
#include "ops/total_norm/total_norm.h"
#include "ops/weight_gradients/weight_gradients.h"

namespace {

using namespace snakelm;

using Bytes = std::vector<std::unique_ptr<uint8_t[]>>;

void on_threads(int64_t n, void (*body)(int64_t, void*), void* context) {
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < n; ++i) threads.emplace_back(body, i, context);
  if (n > 0) body(0, context);
  for (std::thread& thread : threads) thread.join();
}

// A run of problems' memory: random inputs, and outputs that two runs of one problem are compared
// by.
class Memory {
 public:
  explicit Memory(Element type) : type(type), size(type == Element::float32 ? 4 : 2) {}

  void* input(int64_t count) { return take(count * size, true); }
  const float* floats(int64_t count) { return static_cast<const float*>(take(count * 4, true)); }
  Rows rows(int64_t rows, int64_t width) {
    const int64_t row = width + static_cast<int64_t>(below(4));
    return {input(rows ? (rows - 1) * row + width : 0), row};
  }

  void* output(int64_t count) { return remember(count * size); }
  float* float_output(int64_t count) { return static_cast<float*>(remember(count * 4)); }

  std::string results() const {
    std::string all;
    for (const auto& [data, bytes] : outputs_) all.append(static_cast<char*>(data), bytes);
    return all;
  }

  const Element type;
  const int64_t size;

 private:
  void* take(int64_t bytes, bool random) {
    blocks_.emplace_back(new uint8_t[bytes]);
    uint8_t* const data = blocks_.back().get();
    const bool any_bits = below(4) == 0;  // NaN, infinity and subnormals among them
    for (int64_t i = 0; random && i < bytes; ++i) {
      data[i] = static_cast<uint8_t>(source());
      if (!any_bits && i % size == size - 1) data[i] = (data[i] & 0x80) | 0x3F;  // near one
    }
    return data;
  }
  void* remember(int64_t bytes) {
    void* const data = take(bytes, false);
    outputs_.emplace_back(data, bytes);
    return data;
  }

  Bytes blocks_;
  std::vector<std::pair<void*, int64_t>> outputs_;
};

template <class Run>
void twice(const char* name, Memory& memory, const Run& run) {
  const int level = static_cast<int>(below(static_cast<size_t>(best_isa()) + 1));
  if (const char* message = run(level, 1)) fail(message, name);
  const std::string once = memory.results();
  if (const char* message = run(level, 3)) fail(message, name);
  if (memory.results() != once) fail("other bits on three threads", name);
}

int64_t some_width() { return static_cast<int64_t>(below(below(4) == 0 ? 300 : 40)); }
int64_t some_rows(int64_t width) {  // now and then enough for more than one thread
  return static_cast<int64_t>(below(below(8) == 0 ? 70000 / (width + 1) + 1 : 50));
}

void swiglu(Memory& memory) {
  SwigluProblem p;
  p.type = memory.type, p.width = some_width(), p.rows = some_rows(p.width);
  p.gate = memory.rows(p.rows, p.width), p.up = memory.rows(p.rows, p.width);
  p.grad_out = memory.rows(p.rows, p.width);
  const int64_t count = p.rows * p.width;
  p.out = memory.output(count);
  p.grad_gate = memory.output(count), p.grad_up = memory.output(count);
  twice("swiglu", memory, [&](int level, int threads) {
    const char* message = swiglu_forward_cpu(p, level, threads, on_threads);
    return message ? message : swiglu_backward_cpu(p, level, threads, on_threads);
  });
}

void rms_norm(Memory& memory) {
  RmsNormProblem p;
  p.type = memory.type, p.width = some_width(), p.rows = some_rows(p.width), p.eps = 1e-6f;
  const int64_t count = p.rows * p.width;
  p.x = memory.rows(p.rows, p.width);
  if (below(2)) p.residual = memory.rows(p.rows, p.width), p.sum = memory.output(count);
  if (below(2)) p.weight = memory.floats(p.width), p.grad_weight = memory.float_output(p.width);
  p.grad_out = memory.rows(p.rows, p.width);
  if (below(2)) p.grad_sum = memory.rows(p.rows, p.width);
  p.out = memory.output(count), p.grad_x = memory.output(count);
  twice("rms_norm", memory, [&](int level, int threads) {
    const char* message = rms_norm_forward_cpu(p, level, threads, on_threads);
    return message ? message : rms_norm_backward_cpu(p, level, threads, on_threads);
  });
}

// Of a RopeProblem or a QkNormRopeProblem.
template <class Problem>
HeadsView some_heads(Memory& memory, const Problem& p, int64_t heads) {
  const int64_t head = p.dim + static_cast<int64_t>(below(3));
  const int64_t time = heads * head + static_cast<int64_t>(below(3)), batch = p.time * time;
  const bool any = p.batch && p.time && heads;
  const int64_t last = (p.batch - 1) * batch + (p.time - 1) * time + (heads - 1) * head + p.dim;
  return {memory.input(any ? last : 0), batch, time, head};
}

template <class Problem>
void fill_in_sizes_and_angles(Memory& memory, Problem& p) {
  const int64_t usual[] = {64, 128};
  p.dim = below(2) ? usual[below(2)] : 2 * static_cast<int64_t>(below(40));
  p.type = memory.type, p.batch = static_cast<int64_t>(below(3)), p.time = some_rows(4 * p.dim);
  p.angles.by_row = below(2);
  const int64_t count = (p.angles.by_row ? p.batch : 1) * p.time * p.dim / 2;
  p.angles.cos = memory.floats(count), p.angles.sin = memory.floats(count);
}

void rope(Memory& memory) {
  RopeProblem p;
  fill_in_sizes_and_angles(memory, p);
  p.heads = static_cast<int64_t>(below(4)), p.back = below(2);
  p.x = some_heads(memory, p, p.heads);
  p.out = memory.output(p.batch * p.time * p.heads * p.dim);
  twice("rope", memory,
        [&](int level, int threads) { return rope_cpu(p, level, threads, on_threads); });
}

void qk_norm_rope(Memory& memory) {
  QkNormRopeProblem p;
  fill_in_sizes_and_angles(memory, p);
  p.eps = 1e-6f;
  for (ProjectedHeads& part : p.parts) {
    part.heads = static_cast<int64_t>(below(4));
    part.x = some_heads(memory, p, part.heads), part.grad_out = some_heads(memory, p, part.heads);
    part.weight = memory.floats(p.dim), part.grad_weight = memory.float_output(p.dim);
    const int64_t count = p.batch * p.time * part.heads * p.dim;
    part.out = memory.output(count), part.grad_x = memory.output(count);
  }
  twice("qk_norm_rope", memory, [&](int level, int threads) {
    const char* message = qk_norm_rope_forward_cpu(p, level, threads, on_threads);
    return message ? message : qk_norm_rope_backward_cpu(p, level, threads, on_threads);
  });
}

void orthogonalize(Memory& memory) {
  if (memory.type != Element::bfloat16) return;
  const Quintic steps[] = {{7.9f, -22.3f, 15.8f}, {3.6f, -2.6f, 0.5f}};
  OrthogonalizeProblem p;
  p.rows = some_width() / 4, p.columns = some_width() / 4;
  p.matrices = static_cast<int64_t>(below(4));
  p.steps = steps, p.step_count = 1 + static_cast<int64_t>(below(2));
  p.x = memory.input(p.matrices * p.rows * p.columns);
  p.out = memory.output(p.matrices * p.rows * p.columns);
  twice("orthogonalize", memory,
        [&](int level, int threads) { return orthogonalize_cpu(p, level, threads, on_threads); });
}

void weight_gradients(Memory& memory) {
  if (memory.type != Element::bfloat16) return;
  WeightGradientsProblem p;
  p.count = some_rows(40), p.width = some_width(), p.x = memory.rows(p.count, p.width);
  for (size_t i = below(4); i > 0; --i) {
    const int64_t rows = some_width();
    const Rows gradient = memory.rows(p.count, rows);
    p.weights.push_back({gradient, rows, memory.float_output(rows * p.width)});
  }
  twice("weight_gradients", memory, [&](int level, int threads) {
    return weight_gradients_cpu(p, level, threads, on_threads);
  });
}

int64_t some_count() { return static_cast<int64_t>(below(below(8) == 0 ? 70000 : 300)); }

// What passes write in place: run twice, so it begins anew each time.
struct Rewritten {
  float* data;
  std::vector<float> start;
};

Rewritten rewritten(Memory& memory, int64_t count) {
  const float* const start = memory.floats(count);
  return {memory.float_output(count), std::vector<float>(start, start + count)};
}

void reset(const std::vector<Rewritten>& all) {
  for (const Rewritten& one : all) std::copy(one.start.begin(), one.start.end(), one.data);
}

void* some_copy(Memory& memory, int64_t count) {
  if (below(2)) return nullptr;
  void* const copy = memory.float_output((count + 1) / 2);
  std::memset(copy, 0, (count + 1) / 2 * 4);
  return copy;
}

void total_norm(Memory& memory) {
  TotalNormProblem p;
  for (size_t i = below(4); i > 0; --i) {
    p.sizes.push_back(some_count()), p.arrays.push_back(memory.floats(p.sizes.back()));
  }
  p.norm = memory.float_output(1);
  twice("total_norm", memory,
        [&](int level, int threads) { return total_norm_cpu(p, level, threads, on_threads); });
}

void muon_step(Memory& memory) {
  const size_t matrices = below(4);
  MuonStepProblem p;
  p.orthogonalize.matrices = static_cast<int64_t>(matrices);
  p.orthogonalize.rows = some_count(), p.orthogonalize.columns = 1 + below(40);
  const int64_t size = p.orthogonalize.rows * p.orthogonalize.columns;
  MuonMomentumProblem& m = p.momentum;
  MuonUpdateProblem& u = p.update;
  m.size = u.size = size, m.momentum = 0.9f, m.rest = 0.1f, m.scale = 0.7f;
  u.rate = 0.1f, u.keep = 0.9f;
  const Quintic step = {3.4f, -4.8f, 2.0f};
  p.orthogonalize.steps = &step, p.orthogonalize.step_count = 1;

  std::vector<Rewritten> all{rewritten(memory, static_cast<int64_t>(matrices) * size)};
  m.buffer = all[0].data;
  const int64_t words = (static_cast<int64_t>(matrices) * size + 1) / 2;
  for (void** const between : {&m.x, &p.orthogonalize.out}) {
    *between = memory.float_output(words);
    std::memset(*between, 0, words * 4);
  }
  p.orthogonalize.x = m.x, u.x = p.orthogonalize.out;
  for (size_t i = 0; i < matrices; ++i) {
    m.gradients.push_back(memory.floats(size));
    all.push_back(rewritten(memory, size));
    u.parameters.push_back(all.back().data), u.copies.push_back(some_copy(memory, size));
  }
  twice("muon_step", memory, [&](int level, int threads) {
    reset(all);
    return muon_step_cpu(p, level, level, threads, on_threads);
  });
}

void adamw_step(Memory& memory) {
  AdamwProblem p;
  p.eps = 1e-8f, p.rest1 = 0.1f, p.beta2 = 0.9f, p.rest2 = 0.1f;
  std::vector<Rewritten> all;
  for (size_t i = below(4); i > 0; --i) {
    const int64_t size = some_count();
    p.sizes.push_back(size), p.gradients.push_back(memory.floats(size));
    p.rates.push_back(0.1f);
    for (auto* const list : {&p.parameters, &p.averages, &p.squares}) {
      all.push_back(rewritten(memory, size)), list->push_back(all.back().data);
    }
    p.copies.push_back(some_copy(memory, size));
  }
  twice("adamw_step", memory, [&](int level, int threads) {
    reset(all);
    return adamw_step_cpu(p, level, threads, on_threads);
  });
}

// Rows or columns dense, or neither.
Factor some_factor(Memory& memory, int64_t rows, int64_t columns) {
  const int64_t apart = 1 + static_cast<int64_t>(below(2)), more = static_cast<int64_t>(below(3));
  const bool turned = below(2);
  const int64_t inner = turned ? rows : columns, outer = turned ? columns : rows;
  const int64_t row = inner * apart + more;
  const bool any = rows && columns;
  const float* const data = memory.floats(any ? (outer - 1) * row + (inner - 1) * apart + 1 : 0);
  return turned ? Factor{data, apart, row} : Factor{data, row, apart};
}

void products(Memory& memory) {
  std::vector<Product> all(1 + below(2));
  for (Product& product : all) {
    product.rows = some_width(), product.columns = some_width();
    for (size_t i = 1 + below(2); i > 0; --i) {
      const int64_t depth = static_cast<int64_t>(below(below(4) == 0 ? 600 : 40));
      product.summands.push_back({some_factor(memory, product.rows, depth),
                                  some_factor(memory, depth, product.columns), depth});
    }
    product.out = memory.float_output(product.rows * product.columns);
  }
  twice("products", memory,
        [&](int level, int threads) { return products_cpu(all, level, threads, on_threads); });
}

void some_problem() {
  Memory memory(below(2) ? Element::float32 : Element::bfloat16);
  switch (below(10)) {
    case 0: return swiglu(memory);
    case 1: return rms_norm(memory);
    case 2: return rope(memory);
    case 3: return orthogonalize(memory);
    case 4: return total_norm(memory);
    case 5: return muon_step(memory);
    case 6: return adamw_step(memory);
    case 7: return weight_gradients(memory);
    case 8: return products(memory);
    default: return qk_norm_rope(memory);
  }
}

}  // namespace

int main(int argc, char** argv) { return run_fuzzer(argc, argv, some_problem); }
