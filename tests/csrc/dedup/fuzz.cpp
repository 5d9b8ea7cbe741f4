// Random and damaged bytes through deduplication; built with sanitizers by ../test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each input lies in a heap block of exactly its size, so one byte read too far is an error.
// Checked besides: what is invisible changes no word, shingles are the hashes of the words' hashes,
// threads change nothing, a signature is empty where the text has no words, every instruction set
// gives the least of the permutations, and near duplicates are those that comparing every pair
// finds. Exit status 1 and a line on stderr where one does not hold.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "../fuzz.h"
#include "dedup/minhash.h"
#include "dedup/minhash_kernel.h"
#include "dedup/shingles.h"

using snakelm::View;
using namespace snakelm::dedup;

namespace {

// Equal runs of words have equal hashes and different ones different hashes, counted by the
// definition.
void check_shingles() {
  std::vector<std::string> texts;
  std::vector<Block> blocks;
  std::vector<View> views;
  for (int i = 0; i < 30; ++i) texts.push_back(random_input());
  for (const std::string& text : texts) blocks.emplace_back(text);
  for (const Block& block : blocks) views.push_back(block.view);
  const size_t length = 1 + below(6), permutations = 16 + below(30);
  const Shingles one = shingles(views, length, 1), three = shingles(views, length, 3);
  if (one.chunks != three.chunks || one.counts != three.counts)
    fail("threads change the shingles", texts[0]);
  std::vector<uint64_t> hashes;
  for (const auto& chunk : one.chunks) hashes.insert(hashes.end(), chunk.begin(), chunk.end());
  std::vector<uint32_t> made(views.size() * permutations), again(made);
  signatures(views, length, permutations, 1, made.data());
  signatures(views, length, permutations, 3, again.data());
  if (made != again) fail("threads change the signatures", texts[0]);
  std::map<std::vector<uint64_t>, uint64_t> of;
  size_t at = 0;
  for (size_t i = 0; i < views.size(); ++i) {
    std::vector<uint64_t> words;
    each_word(views[i], [&](uint64_t word) { words.push_back(word); });
    const size_t count = words.empty() ? 0 : words.size() < length ? 1 : words.size() - length + 1;
    if (static_cast<size_t>(one.counts[i]) != count)
      fail("the number of shingles is wrong", texts[i]);
    for (size_t k = 0; k < count; ++k, ++at) {
      const auto first = words.begin() + static_cast<ptrdiff_t>(k);
      const std::vector<uint64_t> run(
          first, first + static_cast<ptrdiff_t>(std::min(length, words.size() - k)));
      if (of.emplace(run, hashes.at(at)).first->second != hashes[at])
        fail("equal shingles differ", texts[i]);
    }
    const bool none = std::all_of(&made[i * permutations], &made[i * permutations] + permutations,
                                  [](uint32_t x) { return x == 0xFFFFFFFFu; });
    if (none != (count == 0)) fail("a signature is empty, or should be", texts[i]);
  }
  if (at != hashes.size()) fail("there are shingles of no text", texts[0]);
}

// What is invisible, and which separator it is, changes no word.
void check_normal_form() {
  const auto words = [](const std::string& text) {
    const Block block(text);
    std::vector<uint64_t> found;
    each_word(block.view, [&](uint64_t word) { found.push_back(word); });
    return found;
  };
  const char* const separators[] = {" ", "\xC2\xA0", "\xE3\x80\x80", "\xE2\x80\x94", "\n"};
  const char* const invisible[] = {"\xC2\xAD", "\xE2\x80\x8B", "\xEF\xBB\xBF", "\xE2\x80\x8F"};

  std::string plain, other;
  for (size_t parts = below(12); parts > 0; --parts) {
    const char* const fragment = FRAGMENTS[below(std::size(FRAGMENTS))];
    plain += fragment, other += fragment;
    if (below(2)) plain += ' ', other += separators[below(std::size(separators))];
    if (below(2)) other += invisible[below(std::size(invisible))];
  }
  if (words(plain) != words(other)) fail("what is invisible, or a separator, changes words", other);
}

// Random signatures and buckets, against every pair that shares one.
void check_near_duplicates() {
  const size_t n = below(60), bands = 1 + below(4), permutations = 16, min_equal = 1 + below(16);
  std::vector<uint16_t> signatures(n * permutations);
  for (uint16_t& x : signatures) x = static_cast<uint16_t>(below(3));
  std::vector<uint32_t> rows(n), state(n), links(n * bands, NO_LINK), bucket(n * bands);
  for (size_t j = 0; j < n; ++j) rows[j] = static_cast<uint32_t>(n - 1 - j);
  for (size_t band = 0; band < bands; ++band) {
    std::map<uint32_t, uint32_t> latest;
    for (size_t j = 0; j < n; ++j) {
      const uint32_t mine = bucket[band * n + j] = static_cast<uint32_t>(below(5));
      if (latest.count(mine)) links[band * n + j] = latest[mine];
      latest[mine] = static_cast<uint32_t>(j);
    }
  }
  const Candidates all{n,           bands,       permutations, n, links.data(), signatures.data(),
                       rows.data(), state.data()};
  const size_t middle = n ? below(n + 1) : 0;
  const size_t dropped = drop_near_duplicates(all, 0, middle, min_equal, n) +
                         drop_near_duplicates(all, middle, n, min_equal, n);
  std::vector<bool> gone(n, false);
  size_t expected = 0;
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = 0; i < j && !gone[j]; ++i) {
      size_t shared = 0, equal = 0;
      for (size_t band = 0; band < bands; ++band)
        shared += bucket[band * n + i] == bucket[band * n + j];
      for (size_t k = 0; k < permutations; ++k) {
        equal += signatures[rows[i] * permutations + k] == signatures[rows[j] * permutations + k];
      }
      gone[j] = !gone[i] && shared && equal >= min_equal;
    }
    expected += gone[j];
    if (gone[j] != (state[j] == DROPPED))
      fail("near duplicates differ from those of every pair", "");
  }
  if (dropped != expected) fail("near duplicates are counted wrongly", "");
}

// Links and rows that are damaged are found where they are followed, whatever was decided before.
void check_damaged_links() {
  const size_t n = 1 + below(20), bands = 1 + below(3), permutations = 16;
  const std::vector<uint16_t> signatures(n * permutations);
  std::vector<uint32_t> rows(n), state(n), links(n * bands);
  const auto number = [&] { return static_cast<uint32_t>(below(4) ? below(n + 1) : source()); };
  for (auto* numbers : {&rows, &state, &links}) {
    for (uint32_t& one : *numbers) one = below(3) ? number() : NO_LINK;
  }
  try {
    drop_near_duplicates(
        {n, bands, permutations, n, links.data(), signatures.data(), rows.data(), state.data()},
        below(n + 1), n, 1 + below(16), n);
  } catch (const std::invalid_argument&) {
  }
}

// The loop of each instruction set that this CPU has, against the definition.
void check_kernels() {
  SNAKELM_KERNEL_TABLE(LOWER, minhash_lower);
  const size_t count = below(70), places = below(40);
  std::vector<uint32_t> x(count), a(places), b(places), expected(places, 0xFFFFFFFFu);
  for (auto* numbers : {&x, &a, &b}) {
    for (uint32_t& number : *numbers) number = static_cast<uint32_t>(source());
  }
  for (size_t i = 0; i < places; ++i) {
    for (const uint32_t hash : x) expected[i] = std::min(expected[i], a[i] * hash + b[i]);
  }

  for (int isa = 0; isa < snakelm::ISA_COUNT; ++isa) {
    if (!LOWER[isa] || !snakelm::isa_runs_here(static_cast<snakelm::Isa>(isa))) continue;
    std::vector<uint32_t> lowered(places, 0xFFFFFFFFu);
    LOWER[isa](x.data(), count, a.data(), b.data(), places, lowered.data());
    if (lowered != expected) fail("an instruction set lowers signatures differently", "");
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_fuzzer(argc, argv, [] {
    for (int i = 0; i < 20; ++i)
      check_shingles(), check_normal_form(), check_near_duplicates(), check_damaged_links(),
          check_kernels();
  });
}
