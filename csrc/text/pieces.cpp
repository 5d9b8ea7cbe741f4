#include "text/pieces.h"

#include <stdexcept>

namespace snakelm::text {
namespace {

SNAKELM_KERNEL_TABLE(GPT2, split_gpt2);
SNAKELM_KERNEL_TABLE(CL100K, split_cl100k);
SNAKELM_KERNEL_TABLE(O200K, split_o200k);

constexpr size_t LONGEST = size_t{1} << 31;  // of a block: its offsets have 32 bits

// Do characters begin at p that a kernel knows, as far as one can see at a glance? Those from
// U+0080 to U+00BF are hardly ever letters.
bool is_simple(uint8_t byte) { return byte < 0xE0 && byte != 0xC2; }
bool begins_simply(Bytes p) { return is_simple(p[0]) && is_simple(p[1]); }

template <class Split, class Kernel>
size_t find_ends(Kernel kernel, Bytes text, size_t length, uint32_t* ends) {
  const Bytes end = text + length;
  uint32_t* const full = ends + PieceFinder::BLOCK;
  SplitRun run{text, text, ends};
  do {
    if (kernel && static_cast<size_t>(end - run.at) >= SPLIT_WINDOW && begins_simply(run.at)) {
      run = kernel(run, text, end, full);
      if (run.ends >= full) break;
    }

    do {
      const Bytes next = Split::next(run.at, end);
      if (static_cast<size_t>(next - text) > UINT32_MAX) {
        if (run.at != text) return static_cast<size_t>(run.ends - ends);
        throw std::length_error("a piece of 4 GiB or more cannot be encoded");
      }
      *run.ends++ = static_cast<uint32_t>(next - text);
      run.at = next;
    } while (run.at < run.scalar_until && run.ends < full);
  } while (run.at != end && run.ends < full && static_cast<size_t>(run.at - text) < LONGEST);
  return static_cast<size_t>(run.ends - ends);
}

}  // namespace

PieceFinder::PieceFinder(Pattern pattern, Isa isa) : pattern_(pattern), kernel_(nullptr) {
  if (pattern == Pattern::gpt2) kernel_ = linked_at_most(GPT2, isa);
  // They differ in white space that ends a text, which no kernel decides.
  if (pattern == Pattern::cl100k || pattern == Pattern::llama3)
    kernel_ = linked_at_most(CL100K, isa);
  if (pattern == Pattern::o200k) kernel_ = linked_at_most(O200K, isa);
}

size_t PieceFinder::ends(Bytes text, size_t length, uint32_t* ends) const {
  return with_scanner(
      pattern_, [&]<class Split>(Split) { return find_ends<Split>(kernel_, text, length, ends); });
}

}  // namespace snakelm::text
