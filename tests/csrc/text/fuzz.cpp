// Random and mutated bytes through the tokenizer core; built with sanitizers by test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each input lies in a heap block of exactly its size, so one byte read too far is an error. Checked besides: pieces
// cover the input, tokens spell it, a batch on three threads equals one on one thread, and training on any bytes
// gives merges that spell tokens. Exit status 1 and a line on stderr where one does not hold.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "bpe.h"
#include "trainer.h"

using namespace snakelm::text;

namespace {

std::mt19937_64 source;

size_t below(size_t n) { return static_cast<size_t>(source() % n); }

[[noreturn]] void fail(const char* what, const std::string& input) {
    std::fprintf(stderr, "%s; input:", what);
    for (const char c : input) std::fprintf(stderr, " %02x", static_cast<unsigned char>(c));
    std::fprintf(stderr, "\n");
    std::exit(1);
}

const char* const kFragments[] = {
    " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'\xC5\xBF", "abc", "ABC", "Abc", "1234", "!", "/", "\xCC\x81", "\xCA\xB0",
    "\xE6\xBC\xA2", "\xF0\x9F\x99\x82", "\xC2\xA0", "\xE3\x80\x80", "\xC2\xBD", "\xED\xA0\x80", "\xC0\xAF", "\xF4\x90\x80\x80",
    "\xC3", "\xE6\xBC", "\xF0\x9F\x99", "\xFF", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

std::string random_input() {
    std::string text;
    const size_t parts = below(below(8) == 0 ? 200 : 12);
    for (size_t i = 0; i < parts; ++i) {
        if (below(5) == 0) text += static_cast<char>(source());
        else text += kFragments[below(std::size(kFragments))];
    }
    for (size_t cut = below(3); cut > 0 && !text.empty(); --cut) {  // mutate: change, drop or cut off
        const size_t at = below(text.size());
        switch (below(3)) {
            case 0: text[at] = static_cast<char>(source()); break;
            case 1: text.erase(at, 1); break;
            default: text.resize(at);
        }
    }
    return text;
}

struct Block {  // exactly as long as the text, so that the sanitizer sees what lies beyond it
    explicit Block(const std::string& text) : bytes(new uint8_t[text.size()]), view{bytes.get(), text.size()} {
        if (!text.empty()) std::memcpy(bytes.get(), text.data(), text.size());
    }
    std::unique_ptr<uint8_t[]> bytes;
    View view;
};

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
    for (const auto& [left, right] : trainer.train(400)) tokens.push_back(tokens.at(left) + tokens.at(right));
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
    if (one.chunks != three.chunks || one.lengths != three.lengths) fail("threads change the ids", texts[0]);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: fuzz SEED SECONDS\n"), 2;
    source.seed(std::strtoull(argv[1], nullptr, 10));
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(argv[2]));
    size_t rounds = 0;
    for (; rounds == 0 || std::chrono::steady_clock::now() < end; ++rounds) {
        const Pattern pattern = static_cast<Pattern>(below(3));
        const std::vector<std::string> tokens = train(pattern);
        const Encoder encoder({tokens.begin(), tokens.end()}, pattern);
        if (encoder.merges().size() != tokens.size()) fail("merges and tokens differ in number", "");
        for (int i = 0; i < 20; ++i) {
            check_ids(encoder);
            const std::string text = random_input();
            check_pieces<Gpt2>(text), check_pieces<Cl100k>(text), check_pieces<O200k>(text);
        }
        check_ids(Encoder({tokens.begin(), tokens.begin() + 256 + static_cast<ptrdiff_t>(below(tokens.size() - 255))}, pattern));
    }
    std::printf("%zu rounds\n", rounds);
    return 0;
}
