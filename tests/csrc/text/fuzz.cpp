// Random and mutated bytes through the text core; built with sanitizers by test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each input lies in a heap block of exactly its size, so one byte read too far is an error. Checked besides: pieces
// cover the input, tokens spell it, a batch on three threads equals one on one thread, training on any bytes gives
// merges that spell tokens, shingles are the hashes of the words' hashes, signatures are the least of their
// permutations, and near duplicates are those that comparing every pair finds. Exit status 1 and a line on stderr
// where one does not hold.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "bpe.h"
#include "minhash.h"
#include "shingles.h"
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

// Equal runs of words have equal hashes and different ones different hashes, counted by the definition.
void check_shingles() {
    std::vector<std::string> texts;
    std::vector<Block> blocks;
    std::vector<View> views;
    for (int i = 0; i < 30; ++i) texts.push_back(random_input());
    for (const std::string& text : texts) blocks.emplace_back(text);
    for (const Block& block : blocks) views.push_back(block.view);
    const size_t length = 1 + below(6), permutations = 16 + below(30);
    const Shingles one = shingles(views, length, 1), three = shingles(views, length, 3);
    if (one.chunks != three.chunks || one.counts != three.counts) fail("threads change the shingles", texts[0]);
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
        if (static_cast<size_t>(one.counts[i]) != count) fail("the number of shingles is wrong", texts[i]);
        for (size_t k = 0; k < count; ++k, ++at) {
            const auto first = words.begin() + static_cast<ptrdiff_t>(k);
            const std::vector<uint64_t> run(first, first + static_cast<ptrdiff_t>(std::min(length, words.size() - k)));
            if (of.emplace(run, hashes.at(at)).first->second != hashes[at]) fail("equal shingles differ", texts[i]);
        }
        const bool none = std::all_of(&made[i * permutations], &made[i * permutations] + permutations,
                                      [](uint32_t x) { return x == 0xFFFFFFFFu; });
        if (none != (count == 0)) fail("a signature is empty, or should be", texts[i]);
    }
    if (at != hashes.size()) fail("there are shingles of no text", texts[0]);
}

// Random signatures and buckets, against every pair that shares one.
void check_drop_near() {
    const size_t n = below(60), bands = 1 + below(4), permutations = 16, least = 1 + below(16);
    std::vector<uint16_t> signatures(n * permutations);
    for (uint16_t& x : signatures) x = static_cast<uint16_t>(below(3));
    std::vector<uint32_t> rows(n), state(n), links(n * bands, kNoLink), bucket(n * bands);
    for (size_t j = 0; j < n; ++j) rows[j] = static_cast<uint32_t>(n - 1 - j);
    for (size_t band = 0; band < bands; ++band) {
        std::map<uint32_t, uint32_t> latest;
        for (size_t j = 0; j < n; ++j) {
            const uint32_t mine = bucket[band * n + j] = static_cast<uint32_t>(below(5));
            if (latest.count(mine)) links[band * n + j] = latest[mine];
            latest[mine] = static_cast<uint32_t>(j);
        }
    }
    const Candidates all{n, bands, permutations, links.data(), signatures.data(), rows.data(), state.data()};
    const size_t middle = n ? below(n + 1) : 0;
    const size_t dropped = drop_near(all, 0, middle, least, n) + drop_near(all, middle, n, least, n);
    std::vector<bool> gone(n, false);
    size_t expected = 0;
    for (size_t j = 0; j < n; ++j) {
        for (size_t i = 0; i < j && !gone[j]; ++i) {
            size_t shared = 0, equal = 0;
            for (size_t band = 0; band < bands; ++band) shared += bucket[band * n + i] == bucket[band * n + j];
            for (size_t k = 0; k < permutations; ++k) {
                equal += signatures[rows[i] * permutations + k] == signatures[rows[j] * permutations + k];
            }
            gone[j] = !gone[i] && shared && equal >= least;
        }
        expected += gone[j];
        if (gone[j] != (state[j] == kGone)) fail("near duplicates differ from those of every pair", "");
    }
    if (dropped != expected) fail("near duplicates are counted wrongly", "");
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
            check_shingles(), check_drop_near();
            check_ids(encoder);
            const std::string text = random_input();
            check_pieces<Gpt2>(text), check_pieces<Cl100k>(text), check_pieces<O200k>(text);
        }
        check_ids(Encoder({tokens.begin(), tokens.begin() + 256 + static_cast<ptrdiff_t>(below(tokens.size() - 255))}, pattern));
    }
    std::printf("%zu rounds\n", rounds);
    return 0;
}
