// Forward on AMX tiles. The mathematics is that of attention_forward.h; here scores lie transposed,
//
//   S^T[keys, queries] = K Q^T         O^T[D, queries] = O^T keep + V^T P^T
//
// so that a vector's lanes are queries: maximum and sum of a query need no reduction, and P^T is
// the B of the second product as it comes, two rows of keys to a row of pairs.
#pragma once

#include "ops/attention/attention_amx.h"

namespace snakelm::SNAKELM_ISA {

struct AmxForward : Tiles<BFloat16, true> {
  using Base = Tiles<BFloat16, true>;
  static constexpr int64_t KEYS = 64;  // of a chunk
  // An earlier maximum serves until a score is 2^8 times above it: p and its sum have room, and
  // the output is rarely rescaled.
  static constexpr float ROOM = 8;

  AmxForward(const AttentionProblem& p, const AttentionItem& i) : Base(p, i, STRIP) {}

  struct Keys {
    const Word *k, *v;          // k by rows [key][words]; v^T in panels of 128 keys [D][64]
    const int32_t* bad_before;  // [T + 1] bad keys before t, or null where all are finite
  };

  // Queries [first, first + STRIP) and what they have seen so far.
  struct Block {
    alignas(64) float maximum[STRIP], sum[STRIP];
    float *o, *rows;  // [padded_dim][STRIP], and scratch: [LANES][padded_dim]
    int64_t first;
  };

  // A block against keys [key, key + count).
  struct Chunk {
    Block* block;
    const Word* query;
    int64_t key, count;
    bool first, last, outgrown;     // of its block
    alignas(64) float keep[STRIP];  // outgrown: what earlier output shrinks by
    alignas(64) float s[KEYS * STRIP];
    alignas(64) Word p[KEYS / 2 * STRIP];  // pairs of keys
  };

  void run() {
    const int64_t first = start(item.first_row) / CHUNK * CHUNK;
    const int64_t last = round_up(item.last_row, CHUNK), count = last - first;
    const int64_t query_count = round_up(item.last_row - item.first_row, PANEL);
    Workspace space((2 * count + query_count + 5 * STRIP) * padded_dim * sizeof(float) + 6 * time +
                    8192);
    Word* const k = space.take<Word>(count * words);
    Word* const rows = space.take<Word>(count * words);
    Word* const across = space.take<Word>(count * words);
    Word* const v = space.take<Word>(count * words);
    Word* const query = space.take<Word>(PANEL * words);
    Word* const queries = space.take<Word>(query_count * words);
    float* const o = space.take<float>((3 * STRIP + LANES) * padded_dim);
    uint8_t* const bad_key = space.take<uint8_t>(time);
    uint8_t* const bad_query = space.take<uint8_t>(time);
    int32_t* const bad_before = space.take<int32_t>(time + 1);

    std::memset(bad_key, 0, time);
    bool any_bad = pack_rows(problem.k, item.kv_head, first, last, k, bad_key);
    any_bad |= pack_rows(problem.v, item.kv_head, first, last, rows, bad_key);
    pack_across(rows, count, across);
    pack_panels(across, count / 2, v, padded_dim);
    if (any_bad) accumulate(bad_key, time, bad_before);
    const Keys keys{k - first * words, v - first * words, any_bad ? bad_before : nullptr};

    const FullTiles shapes;
    for (int64_t head = item.first_head; head < item.last_head; ++head) {
      std::memset(bad_query + item.first_row, 0, item.last_row - item.first_row);
      bool bad = false;
      for (int64_t tile = item.first_row; tile < item.last_row; tile += PANEL) {
        bad |= pack_rows(problem.q, head, tile, tile + PANEL, query, bad_query);
        pack_panels(query, PANEL, queries + (tile - item.first_row) * words, words);
      }
      if (padded_dim <= 64)
        run_head<1>(head, queries, keys, o, bad ? bad_query : nullptr);
      else
        run_head<2>(head, queries, keys, o, bad ? bad_query : nullptr);
    }
  }

  // A stream of chunks: while one's exponentials are computed, so are the next one's scores and the
  // last one's output. Three of each are alive: a block may be a single chunk.
  template <int TURNS>
  void run_head(int64_t head, const Word* queries, const Keys& keys, float* o,
                const uint8_t* bad_query) const {
    Block blocks[3];
    for (Block& block : blocks) {
      block.o = o + (&block - blocks) * STRIP * padded_dim;
      block.rows = o + 3 * STRIP * padded_dim;
    }
    Chunk chunks[3];
    ProductQueue queue;
    int now = 0, block = 0;
    open(chunks[0], blocks[0], item.first_row, queries);
    score(chunks[0], keys, queue);
    queue.finish();

    for (bool more = true; more; ++now) {
      Chunk& chunk = chunks[now % 3];
      Chunk& next = chunks[(now + 1) % 3];
      const Chunk* const last = now ? &chunks[(now + 2) % 3] : nullptr;
      const int64_t next_row = chunk.block->first + STRIP;
      if (!chunk.last) {
        next.block = chunk.block, next.query = chunk.query, next.first = false;
        cut(next, chunk.key + chunk.count);
      } else if (next_row < smaller(item.last_row, time)) {
        open(next, blocks[++block % 3], next_row, queries);
      } else {
        more = false;
      }

      if (more) score(next, keys, queue);
      if (last) weigh(*last, keys, queue);
      mask(chunk);
      grow(chunk);
      soften<TURNS>(chunk, queue);
      queue.finish();
      if (last && last->last) finish(*last->block, head, keys, bad_query);
    }
    const Chunk& last = chunks[(now + 2) % 3];
    weigh(last, keys, queue);
    queue.finish();
    finish(*last.block, head, keys, bad_query);
  }

  // The first chunk of the block of queries at `row`.
  SNAKELM_INLINE void open(Chunk& chunk, Block& block, int64_t row, const Word* queries) const {
    block.first = row;
    for (int i = 0; i < STRIP; ++i) block.maximum[i] = -INFINITE, block.sum[i] = 0;
    const int64_t at = row - item.first_row;
    chunk.block = &block, chunk.first = true;
    chunk.query = queries + at / PANEL * PANEL * words + at % PANEL;
    cut(chunk, start(row) / STRIP * STRIP);
  }

  SNAKELM_INLINE void cut(Chunk& chunk, int64_t key) const {
    const int64_t end = chunk.block->first + STRIP;
    chunk.key = key;
    chunk.count = smaller(key / KEYS * KEYS + KEYS, end) - key;
    chunk.last = key + chunk.count == end;
  }

  SNAKELM_INLINE void score(Chunk& chunk, const Keys& keys, ProductQueue& queue) const {
    const int64_t row = words * sizeof(Word);
    for (int64_t key = 0; key < chunk.count; key += STRIP) {
      queue.urgent({{keys.k + (chunk.key + key) * words, row, 16 * row, 64},
                    {chunk.query, PANEL * 4, 64, 16 * PANEL * 4},
                    padded_dim / STRIP,
                    nullptr,
                    0,
                    chunk.s + key * STRIP,
                    STRIP});
    }
  }

  // Minus infinity where a query doesn't see a key.
  SNAKELM_INLINE void mask(Chunk& chunk) const {
    const int64_t first = chunk.block->first;
    float* s = chunk.s;
    const int64_t last = smaller(first + STRIP, time) - 1, start_of_last = start(last);
    for (int64_t key = chunk.key; key < chunk.key + chunk.count; key += STRIP, s += STRIP * STRIP) {
      if (key + STRIP <= first + 1 && key >= start_of_last && last == first + STRIP - 1) continue;
      for (int half = 0; half < 2; ++half) {
        const Lanes lanes = lanes_of(first + half * LANES);
        for (int64_t j = 0; j < STRIP; ++j) {
          float* const at = s + j * STRIP + half * LANES;
          store(at, lanes.see(key + j) ? load(at) : splat(-INFINITE));
        }
      }
    }
  }

  struct Lanes {
    IntVec start, last;  // first and last key that each lane's query sees
    SNAKELM_INLINE IntVec see(int64_t key) const {
      const IntVec k = splat_int(static_cast<int32_t>(key));
      return (k >= start) & (k <= last);
    }
  };
  SNAKELM_INLINE Lanes lanes_of(int64_t first) const {
    Lanes lanes;
    for (int i = 0; i < LANES; ++i) {
      const int64_t t = smaller(first + i, time - 1);
      lanes.start[i] = static_cast<int32_t>(start(t)), lanes.last[i] = static_cast<int32_t>(t);
    }
    return lanes;
  }

  // The chunk's maximum; where it leaves the room of the one before, sum and output shrink.
  SNAKELM_INLINE void grow(Chunk& chunk) const {
    Block& block = *chunk.block;
    IntVec all = splat_int(0);
    for (int half = 0; half < STRIP; half += LANES) {
      Vec top[4] = {splat(-INFINITE), splat(-INFINITE), splat(-INFINITE), splat(-INFINITE)};
      for (int64_t j = 0; j < chunk.count; j += 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i)
          top[i] = maximum(top[i], load(chunk.s + (j + i) * STRIP + half));
      }
      const Vec grown = maximum(maximum(top[0], top[1]), maximum(top[2], top[3]));
      const Vec before = load(block.maximum + half);
      const IntVec outgrown = (grown - before) * splat(factor) > splat(ROOM);
      const Vec after = outgrown ? grown : before;
      const Vec keep = outgrown ? exp2<5>((before - after) * splat(factor)) : splat(1.0f);
      all |= outgrown;
      store(chunk.keep + half, keep);
      store(block.maximum + half, after);
      store(block.sum + half, load(block.sum + half) * keep);
    }
    chunk.outgrown = any_negative(all);
  }

  // exp(s - maximum), to pairs of keys.
  template <int TURNS>
  SNAKELM_INLINE void soften(Chunk& chunk, ProductQueue& queue) const {
    Vec top[2], sum[2];
    for (int half = 0; half < 2; ++half) {
      const Vec m = load(chunk.block->maximum + half * LANES);
      top[half] = m == splat(-INFINITE) ? Vec{} : m;  // nothing seen yet: keep exp(-inf) = 0
      sum[half] = load(chunk.block->sum + half * LANES);
    }
    for (int64_t j = 0; j < chunk.count; j += 8) {
      soften_pair(chunk, j, top, sum);
      queue.turn<0>();
      if (TURNS == 2) queue.turn<1>();
      soften_pair(chunk, j + 2, top, sum);
      queue.turn<TURNS == 2 ? 2 : 1>();
      if (TURNS == 2) queue.turn<3>();
      soften_pair(chunk, j + 4, top, sum);
      queue.turn<TURNS == 2 ? 0 : 2>();
      if (TURNS == 2) queue.turn<1>();
      soften_pair(chunk, j + 6, top, sum);
      queue.turn<TURNS == 2 ? 2 : 3>();
      if (TURNS == 2) queue.turn<3>();
    }
    for (int half = 0; half < 2; ++half) store(chunk.block->sum + half * LANES, sum[half]);
  }

  // Keys j and j + 1.
  SNAKELM_INLINE void soften_pair(Chunk& chunk, int64_t j, const Vec* top, Vec* sum) const {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Vec pair[2];
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        const Vec x = load(chunk.s + (j + i) * STRIP + half * LANES) - top[half];
        pair[i] = exp2_coarse(x * splat(factor));
        sum[half] += pair[i];
      }
      const WordVec both = pair_of(pair[0], pair[1]);
      std::memcpy(chunk.p + j / 2 * STRIP + half * LANES, &both, sizeof both);
    }
  }

  // o = o keep + V^T P^T.
  SNAKELM_INLINE void weigh(const Chunk& chunk, const Keys& keys, ProductQueue& queue) const {
    float* const o = chunk.block->o;
    if (chunk.outgrown && !chunk.first) {
      const Vec keep[2] = {load(chunk.keep), load(chunk.keep + LANES)};
      for (int64_t d = 0; d < padded_dim; ++d) {
        float* const row = o + d * STRIP;
        store(row, load(row) * keep[0]);
        store(row + LANES, load(row + LANES) * keep[1]);
      }
    }
    const int64_t panel = chunk.key / CHUNK * CHUNK;
    const Word* const v = keys.v + panel * words + (chunk.key - panel) / 2;
    for (int64_t d = 0; d < padded_dim; d += STRIP) {
      queue.later({{v + d * PANEL, PANEL * 4, 16 * PANEL * 4, 64},
                   {chunk.p, STRIP * 4, 64, 16 * STRIP * 4},
                   chunk.count / STRIP,
                   chunk.first ? nullptr : o + d * STRIP,
                   chunk.first ? 0 : STRIP,
                   o + d * STRIP,
                   STRIP});
    }
  }

  void finish(const Block& block, int64_t head, const Keys& keys, const uint8_t* bad_query) const {
    float* const log_sum = log_sums(head);
    for (int64_t half = 0; half < STRIP && block.first + half < time; half += LANES) {
      for (int64_t d = 0; d < padded_dim; d += LANES) {
        transpose_square(block.o + d * STRIP + half, STRIP, block.rows + d, padded_dim);
      }
      for (int64_t i = 0; i < LANES && block.first + half + i < time; ++i) {
        const int64_t t = block.first + half + i;
        const bool bad = (bad_query && bad_query[t]) ||
                         (keys.bad_before && keys.bad_before[t + 1] > keys.bad_before[start(t)]);
        const float sum = block.sum[half + i], scale = bad ? __builtin_nanf("") : 1.0f / sum;
        write_row(block.rows + i * padded_dim, scale, query_row(problem.out, t, head));
        log_sum[t] = block.maximum[half + i];
        log_sum[time + t] = bad ? __builtin_nanf("") : __builtin_logf(sum);
      }
    }
  }
};

}  // namespace snakelm::SNAKELM_ISA
