#include "text/trainer.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <unordered_set>

#include "common/parallel.h"
#include "text/pair_queue.h"

namespace snakelm::text {
namespace {

// allowed(left, right): whether the pair may merge. The first merge makes id `first`.
template <class Allowed>
Merges merge_all(WordCorpus& corpus, uint32_t first, size_t limit, const Allowed& allowed) {
  PairTable pairs;
  corpus.count_pairs(pairs);
  PairQueue queue(pairs);
  for (uint32_t number = 0; number < pairs.size(); ++number) queue.push(number);

  Merges merges;
  while (merges.size() < limit) {
    const uint32_t best = queue.pop();
    if (best == PairQueue::NONE) break;
    const auto left = static_cast<uint32_t>(pairs[best].key >> 32),
               right = static_cast<uint32_t>(pairs[best].key);
    if (!allowed(left, right)) continue;

    const uint32_t first_new = pairs.size();
    corpus.merge(best, first + static_cast<uint32_t>(merges.size()), pairs);
    for (uint32_t number = first_new; number < pairs.size(); ++number) queue.push(number);
    merges.emplace_back(left, right);
  }
  return merges;
}

}  // namespace

Trainer::Trainer(Pattern pattern, int threads, uint64_t most_memory)
    : finder_(pattern, best_isa()),
      counts_(static_cast<size_t>(std::clamp(threads, 1, MOST_THREADS))),
      most_memory_(most_memory) {}

void Trainer::add(const std::vector<View>& texts) {
  const std::lock_guard<std::mutex> guard(lock_);
  const std::vector<size_t> bounds = chunk_bounds(texts);

  std::atomic<uint64_t> pieces{0};
  for_each_item(bounds.size() - 1, static_cast<int>(counts_.size()),
                [&](size_t chunk, size_t thread) {
                  uint64_t seen = 0;
                  for (size_t i = bounds[chunk]; i < bounds[chunk + 1]; ++i)
                    seen += count_pieces(texts[i], counts_[thread]);
                  counts_[thread].flush();
                  pieces += seen;
                });

  pieces_ += pieces;
  for (const View& text : texts) bytes_ += text.length;
  check_memory();
}

uint64_t Trainer::count_pieces(View text, PieceCounts& counts) const {
  uint32_t ends[PieceFinder::ROOM];
  uint64_t seen = 0;
  const Bytes end = text.data + text.length;
  for (Bytes p = text.data; p != end;) {
    const size_t count = finder_.ends(p, static_cast<size_t>(end - p), ends);
    uint32_t start = 0;
    for (size_t i = 0; i < count; start = ends[i++]) counts.add(p + start, ends[i] - start, end);
    seen += count, p += start;
  }
  return seen;
}

void Trainer::add_piece(View piece, uint64_t count) {
  const std::lock_guard<std::mutex> guard(lock_);
  counts_[0].add(piece.data, piece.length, count);
  pieces_ += count, bytes_ += count * piece.length;
  check_memory();
}

uint64_t Trainer::memory() const {
  uint64_t tables = 0, slots = 0;
  for (const PieceCounts& counts : counts_)
    tables += counts.memory(), slots += counts.text_bytes() + counts.size();
  return tables + WordCorpus::memory(slots);
}

void Trainer::check_memory() {
  if (memory() <= most_memory_) return;
  collect();  // threads count the same pieces
  if (memory() <= most_memory_) return;
  throw std::length_error(std::to_string(counts_[0].size()) +
                          " different words need more memory than allowed (" +
                          std::to_string(most_memory_ >> 20) + " MiB)");
}

void Trainer::collect() {
  for (size_t thread = 1; thread < counts_.size(); ++thread) {
    counts_[0].add(counts_[thread]);
    counts_[thread] = PieceCounts();
  }
}

uint64_t Trainer::distinct_pieces() {
  const std::lock_guard<std::mutex> guard(lock_);
  collect();
  return counts_[0].size();
}

Merges Trainer::train(size_t limit) {
  const std::lock_guard<std::mutex> guard(lock_);
  collect();
  const Start bytes = [](View piece, std::vector<uint32_t>& ids) {
    ids.assign(piece.data, piece.data + piece.length);
  };
  WordCorpus corpus(counts_[0], bytes, std::vector<uint32_t>(256, 1));
  return merge_all(corpus, 256, limit, [](uint32_t, uint32_t) { return true; });
}

Merges Trainer::extend(const Encoder& base, uint32_t first, size_t limit) {
  const std::lock_guard<std::mutex> guard(lock_);
  collect();
  const Vocabulary& vocabulary = base.vocabulary();
  if (first < vocabulary.size())
    throw std::invalid_argument("new ids begin inside the vocabulary that is extended");
  std::vector<std::string> tokens(first);
  std::vector<uint32_t> lengths(first);
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    tokens[id] = vocabulary.token(id);
    lengths[id] = static_cast<uint32_t>(tokens[id].size());
  }

  Scratch<uint32_t> scratch;
  Ids word;
  const Start encoded = [&](View piece, std::vector<uint32_t>& ids) {
    word.clear();
    base.encode(piece, scratch, word);
    ids.assign(word.begin(), word.end());
  };
  WordCorpus corpus(counts_[0], encoded, std::move(lengths));

  std::vector<std::string> unreached;
  const auto merges = base.merges();
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    if (tokens[id].size() > 1 && merges[id].first == NO_TOKEN) unreached.push_back(tokens[id]);
  }

  std::unordered_set<std::string> known(tokens.begin(), tokens.end());
  return merge_all(corpus, first, limit, [&](uint32_t left, uint32_t right) {
    std::string joined = tokens[left] + tokens[right];
    const auto has_it = [&](const std::string& token) {
      return token.find(joined) != std::string::npos;
    };
    if (std::any_of(unreached.begin(), unreached.end(), has_it)) return false;
    if (!known.insert(joined).second) return false;
    tokens.push_back(std::move(joined));
    return true;
  });
}

}  // namespace snakelm::text
