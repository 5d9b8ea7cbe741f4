// Random and damaged bytes through the tokenizer; built with sanitizers by ../test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each input lies in a heap block of exactly its size, so one byte read too far is an error.
// Checked besides: pieces cover the input, tokens spell it, a batch on three threads equals one on
// one thread, and training on any bytes gives merges that spell tokens. Exit status 1 and a line on
// stderr where one does not hold.
#include <string>
#include <vector>

#include "../fuzz.h"
#include "text/bpe.h"
#include "text/trainer.h"

using snakelm::Bytes;
using snakelm::View;
using namespace snakelm::text;

namespace {

template <class Split>
void check_pieces(const std::string& text) {
  const Block block(text);
  size_t covered = 0;
  each_piece<Split>(block.view.data, block.view.length, [&](Bytes p, size_t length) {
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
  Trainer trainer(pattern, 2);
  trainer.add(views);
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
    std::vector<uint32_t> ids;
    encoder.encode(block.view, scratch, ids);
    std::string spelled;
    for (const uint32_t id : ids) spelled += encoder.vocabulary().token(id);
    if (spelled != text) fail("tokens do not spell the text", text);
  }
  const Batch one = encode_batch(encoder, views, 1), three = encode_batch(encoder, views, 3);
  if (one.chunks != three.chunks || one.lengths != three.lengths)
    fail("threads change the ids", texts[0]);
}

}  // namespace

int main(int argc, char** argv) {
  return run_fuzzer(argc, argv, [] {
    const Pattern pattern = static_cast<Pattern>(below(3));
    const std::vector<std::string> tokens = train(pattern);
    const Encoder encoder({tokens.begin(), tokens.end()}, pattern);
    if (encoder.merges().size() != tokens.size()) fail("merges and tokens differ in number", "");

    for (int i = 0; i < 20; ++i) {
      check_ids(encoder);
      const std::string text = random_input();
      check_pieces<Gpt2>(text), check_pieces<Cl100k>(text), check_pieces<O200k>(text);
    }

    const size_t kept = 256 + below(tokens.size() - 255);
    check_ids(Encoder({tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(kept)}, pattern));
  });
}
