#include "text/trainer.h"

#include <algorithm>
#include <atomic>
#include <queue>
#include <stdexcept>

#include "common/parallel.h"
#include "text/hash.h"

namespace snakelm::text {
namespace {

constexpr uint32_t END = 0xFFFFFFFF;   // between pieces
constexpr uint32_t DEAD = 0xFFFFFFFE;  // inside a merged token

uint64_t pair_key(uint32_t left, uint32_t right) {
  return static_cast<uint64_t>(left) << 32 | right;
}

// All pairs that ever occurred. Every occurrence of a pair appears in one merge (the one that makes
// its newer half), so its count only falls afterwards, and its positions are ascending within each
// piece.
class PairTable {
 public:
  struct Pair {
    uint64_t key;
    uint64_t count = 0;
    std::vector<uint32_t> positions;  // where its left half starts; some may have merged away since
  };

  PairTable() : slots_(size_t{1} << 16, 0) {}

  Pair& get(uint64_t key) {
    size_t i = find(key);
    if (slots_[i] == 0) {
      if (2 * (pairs_.size() + 1) > slots_.size()) grow(), i = find(key);
      if (pairs_.size() >= DEAD) throw std::length_error("more than 4e9 distinct pairs");
      pairs_.push_back({key, 0, {}});
      slots_[i] = static_cast<uint32_t>(pairs_.size());
    }
    return pairs_[slots_[i] - 1];
  }
  Pair& operator[](size_t i) { return pairs_[i]; }
  size_t size() const { return pairs_.size(); }

 private:
  size_t find(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_number(key) & mask;
    while (slots_[i] != 0 && pairs_[slots_[i] - 1].key != key) i = (i + 1) & mask;
    return i;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, 0);
    for (size_t pair = 0; pair < pairs_.size(); ++pair)
      slots_[find(pairs_[pair].key)] = static_cast<uint32_t>(pair + 1);
  }

  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_;  // pair + 1, or 0
};

// All distinct pieces laid end to end, one slot a byte, with END between them. A token keeps its id
// in the slot of its first byte and its length in the slot of its last: both neighbours are found
// without links.
class Corpus {
 public:
  explicit Corpus(const PieceCounts& counts) {
    size_t slots = 1;
    for (size_t i = 0; i < counts.size(); ++i) slots += counts.piece(i).length + 1;
    if (slots >= DEAD) throw std::length_error("distinct pieces exceed 4 GiB: train on less text");
    symbols_.reserve(slots), widths_.reserve(slots), piece_.reserve(slots);

    push(END, 0);
    for (size_t i = 0; i < counts.size(); ++i) {
      const View piece = counts.piece(i);
      if (piece.length < 2) continue;  // has no pair
      for (size_t j = 0; j < piece.length; ++j)
        push(piece.data[j], static_cast<uint32_t>(weights_.size()));
      push(END, 0);
      weights_.push_back(counts.count(i));
    }
    for (uint32_t b = 0; b < 256; ++b) lengths_.push_back(1);
  }

  void count_pairs(PairTable& pairs) {
    for (uint32_t at = 0; at + 1 < symbols_.size(); ++at) {
      if (symbols_[at] != END && symbols_[at + 1] != END)
        record(pairs, symbols_[at], symbols_[at + 1], at, weight(at));
    }
  }

  // Replaces every (left, right) at `positions` by `made`; updates the counts of the neighbouring
  // pairs.
  void merge(uint32_t left, uint32_t right, uint32_t made, const std::vector<uint32_t>& positions,
             PairTable& pairs) {
    lengths_.push_back(lengths_[left] + lengths_[right]);
    for (const uint32_t at : positions) {
      const uint32_t second = at + lengths_[left];
      if (symbols_[at] != left || symbols_[second] != right) continue;
      const uint32_t after = second + lengths_[right];
      const uint64_t w = weight(at);
      if (symbols_[at - 1] != END) {
        const uint32_t before = at - widths_[at - 1];
        const uint32_t neighbour = symbols_[before];
        pairs.get(pair_key(neighbour, left)).count -= w;
        record(pairs, neighbour, made, before, w);
      }
      if (symbols_[after] != END) {
        pairs.get(pair_key(right, symbols_[after])).count -= w;
        record(pairs, made, symbols_[after], at, w);
      }
      symbols_[second] = DEAD;
      symbols_[at] = made;
      widths_[after - 1] = lengths_[made];
    }
  }

 private:
  void push(uint32_t symbol, uint32_t piece) {
    symbols_.push_back(symbol), widths_.push_back(1), piece_.push_back(piece);
  }
  uint64_t weight(uint32_t at) const { return weights_[piece_[at]]; }
  static void record(PairTable& pairs, uint32_t left, uint32_t right, uint32_t at, uint64_t w) {
    PairTable::Pair& pair = pairs.get(pair_key(left, right));
    pair.count += w;
    pair.positions.push_back(at);
  }

  std::vector<uint32_t> symbols_, widths_, piece_;  // [slots]
  std::vector<uint64_t> weights_;                   // [pieces] occurrences
  std::vector<uint32_t> lengths_;                   // [ids] bytes
};

struct Candidate {
  uint64_t count, key;
  size_t pair;
  bool operator<(const Candidate& other) const {  // the greatest candidate merges next
    return count != other.count ? count < other.count : key > other.key;
  }
};

}  // namespace

PieceCounts::PieceCounts() : slots_(size_t{1} << 12, 0) {}

void PieceCounts::add(Bytes p, size_t length, uint64_t count) {
  const uint64_t hash = hash_bytes(p, length);
  const size_t mask = slots_.size() - 1;
  size_t i = hash & mask;
  for (; slots_[i] != 0; i = (i + 1) & mask) {
    Entry& entry = entries_[slots_[i] - 1];
    if (entry.hash == hash && entry.length == length &&
        std::equal(p, p + length, bytes_.data() + entry.offset)) {
      entry.count += count;
      return;
    }
  }

  if (length >= DEAD || entries_.size() >= DEAD)
    throw std::length_error("distinct pieces exceed 4e9");
  entries_.push_back({hash, bytes_.size(), count, static_cast<uint32_t>(length)});
  bytes_.insert(bytes_.end(), p, p + length);
  slots_[i] = static_cast<uint32_t>(entries_.size());
  if (2 * entries_.size() > slots_.size()) grow();
}

void PieceCounts::grow() {
  slots_.assign(slots_.size() * 2, 0);
  const size_t mask = slots_.size() - 1;
  for (size_t entry = 0; entry < entries_.size(); ++entry) {
    size_t i = entries_[entry].hash & mask;
    while (slots_[i] != 0) i = (i + 1) & mask;
    slots_[i] = static_cast<uint32_t>(entry + 1);
  }
}

Trainer::Trainer(Pattern pattern, int threads)
    : pattern_(pattern), counts_(static_cast<size_t>(std::clamp(threads, 1, MOST_THREADS))) {}

void Trainer::add(const std::vector<View>& texts) {
  const std::lock_guard<std::mutex> guard(lock_);
  const std::vector<size_t> bounds = chunk_bounds(texts);

  std::atomic<uint64_t> pieces{0};
  for_each_item(
      bounds.size() - 1, static_cast<int>(counts_.size()), [&](size_t chunk, size_t thread) {
        PieceCounts& counts = counts_[thread];
        uint64_t seen = 0;
        const auto visit = [&](Bytes p, size_t length) { counts.add(p, length, 1), ++seen; };
        for (size_t i = bounds[chunk]; i < bounds[chunk + 1]; ++i) {
          switch (pattern_) {
            case Pattern::gpt2: each_piece<Gpt2>(texts[i].data, texts[i].length, visit); break;
            case Pattern::cl100k: each_piece<Cl100k>(texts[i].data, texts[i].length, visit); break;
            case Pattern::o200k: each_piece<O200k>(texts[i].data, texts[i].length, visit); break;
          }
        }
        pieces += seen;
      });

  pieces_ += pieces;
  for (const View& text : texts) bytes_ += text.length;
}

void Trainer::collect() {
  for (size_t thread = 1; thread < counts_.size(); ++thread) {
    const PieceCounts& from = counts_[thread];
    for (size_t i = 0; i < from.size(); ++i)
      counts_[0].add(from.piece(i).data, from.piece(i).length, from.count(i));
    counts_[thread] = PieceCounts();
  }
}

size_t Trainer::distinct_pieces() {
  const std::lock_guard<std::mutex> guard(lock_);
  collect();
  return counts_[0].size();
}

std::vector<std::pair<uint32_t, uint32_t>> Trainer::train(size_t limit) {
  const std::lock_guard<std::mutex> guard(lock_);
  collect();
  Corpus corpus(counts_[0]);
  PairTable pairs;
  corpus.count_pairs(pairs);
  std::priority_queue<Candidate> queue;
  for (size_t i = 0; i < pairs.size(); ++i) queue.push({pairs[i].count, pairs[i].key, i});

  std::vector<std::pair<uint32_t, uint32_t>> merges;

  while (merges.size() < limit && !queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    PairTable::Pair& pair = pairs[best.pair];
    if (pair.count !=
        best.count) {  // fell since it was queued: it waits again with what it has now
      if (pair.count > 0) queue.push({pair.count, pair.key, best.pair});
      continue;
    }
    const auto left = static_cast<uint32_t>(best.key >> 32),
               right = static_cast<uint32_t>(best.key);

    // Moved out: no such pair is left afterwards, it has no other candidate, and its count is not
    // read again.
    const std::vector<uint32_t> positions = std::move(pair.positions);

    const size_t first_new = pairs.size();
    corpus.merge(left, right, static_cast<uint32_t>(256 + merges.size()), positions, pairs);
    for (size_t i = first_new; i < pairs.size(); ++i) {
      if (pairs[i].count > 0) queue.push({pairs[i].count, pairs[i].key, i});
    }
    merges.emplace_back(left, right);
  }
  return merges;
}

}  // namespace snakelm::text
