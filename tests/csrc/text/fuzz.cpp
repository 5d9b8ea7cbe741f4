// Random and damaged bytes through the tokenizer; built with sanitizers by ../test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each input lies in a heap block of exactly its size, so one byte read too far is an error.
// Checked besides: pieces cover the input, tokens spell it, a batch on three threads equals one on
// one thread, training on any bytes gives merges that spell tokens, chosen words share no hash, and
// Arrow's offsets are followed only inside the data. Exit status 1 and a line on
// stderr where one does not hold.
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../fuzz.h"
#include "text/bpe.h"
#include "text/hash.h"
#include "text/trainer.h"

using snakelm::Bytes;
using snakelm::View;
using namespace snakelm::text;

namespace {

constexpr size_t PATTERNS = static_cast<size_t>(Pattern::whole) + 1;

void check_pieces(Pattern pattern, const std::string& text) {
  const Block block(text);
  size_t covered = 0;
  split(pattern, block.view, [&](Bytes p, size_t length) {
    if (p != block.view.data + covered || length == 0) fail("pieces leave a gap", text);
    covered += length;
  });
  if (covered != text.size()) fail("pieces end early", text);
}

std::vector<std::string> train(Pattern pattern) {
  std::vector<Block> blocks;
  std::vector<View> views;
  for (int i = 0; i < 300; ++i) blocks.emplace_back(random_input());
  for (const Block& block : blocks) views.push_back(block.view);
  Trainer trainer(pattern, 2, UINT64_MAX);
  std::thread other([&] { trainer.add({views.begin() + 150, views.end()}); });
  trainer.add({views.begin(), views.begin() + 150});
  if (trainer.distinct_pieces() > trainer.pieces()) fail("pieces are counted wrongly", "");
  other.join();
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  for (const auto& [left, right] : trainer.train(400))
    tokens.push_back(tokens.at(left) + tokens.at(right));
  return tokens;
}

void check_ids(const Encoder& encoder) {
  std::vector<std::string> texts;
  std::vector<Block> blocks;
  std::vector<View> views;
  for (int i = 0; i < 40; ++i) texts.push_back(random_input());
  for (const std::string& text : texts) blocks.emplace_back(text);
  for (const Block& block : blocks) views.push_back(block.view);
  for (const std::string& text : texts) {
    const Block block(text);
    Scratch scratch;
    Ids ids;
    encoder.encode(block.view, scratch, ids);
    std::string spelled;
    for (const uint32_t id : ids) spelled += encoder.vocabulary().token(id);
    if (spelled != text) fail("tokens do not spell the text", text);
  }
  const Batch one = encode_batch(encoder, views, 1), three = encode_batch(encoder, views, 3);
  if (one.chunks != three.chunks || one.lengths != three.lengths)
    fail("threads change the ids", texts[0]);
}

// Words that had one hash before hashes were seeded: a factor of their product was 0.
void check_chosen_words() {
  constexpr uint64_t K0 = 0x9E3779B97F4A7C15, K1 = 0xD6E8FEB86659FD93;
  std::set<uint64_t> hashes;
  constexpr size_t EACH = 500;
  for (size_t i = 0; i < EACH; ++i) {
    const uint64_t first[] = {16 * K0 ^ K1, source()}, last[] = {source(), K0};
    const uint64_t middle[] = {source(), K1, 1, 2};
    hashes.insert(hash_bytes(reinterpret_cast<Bytes>(first), sizeof first));
    hashes.insert(hash_bytes(reinterpret_cast<Bytes>(last), sizeof last));
    hashes.insert(hash_bytes(reinterpret_cast<Bytes>(middle), sizeof middle));
  }
  if (hashes.size() != 3 * EACH) fail("chosen words have one hash", "");
}

// Offsets as a damaged or cut file has them, at any address: views lie in the data, or none come.
template <class Offset>
void check_arrow() {
  const std::string data = random_input();
  const Block block(data);
  const size_t rows = below(6), shift = below(8);
  const auto memory = std::make_unique<char[]>(shift + (rows + 1) * sizeof(Offset));
  Offset at = 0;
  for (size_t i = 0; i <= rows; ++i) {
    if (i) at += static_cast<Offset>(below(data.size() / (rows + 1) + 1));
    const Offset damaged = below(30) ? at : static_cast<Offset>(source());
    std::memcpy(memory.get() + shift + i * sizeof(Offset), &damaged, sizeof(Offset));
  }

  const auto address = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
  const snakelm::ArrowChunk chunk{
      address(block.view.data), data.size(), address(memory.get() + shift),
      sizeof(Offset),           0,           rows};
  try {
    for (const View& view : snakelm::arrow_views({chunk})) {
      const std::vector<uint8_t> copy(view.data, view.data + view.length);
      if (copy.size() > data.size()) fail("a view is longer than the data", data);
    }
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_fuzzer(argc, argv, [] {
    const Pattern pattern = static_cast<Pattern>(below(PATTERNS));
    const std::vector<std::string> tokens = train(pattern);
    const Encoder encoder({tokens.begin(), tokens.end()}, pattern);
    if (encoder.merges().size() != tokens.size()) fail("merges and tokens differ in number", "");

    check_chosen_words();
    for (int i = 0; i < 20; ++i) {
      check_ids(encoder), check_arrow<int32_t>(), check_arrow<int64_t>();
      const std::string text = random_input();
      for (size_t i = 0; i < PATTERNS; ++i) check_pieces(static_cast<Pattern>(i), text);
    }

    const size_t kept = 256 + below(tokens.size() - 255);
    check_ids(Encoder({tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(kept)}, pattern));
  });
}
