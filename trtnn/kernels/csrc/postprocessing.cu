// A network's outputs to detections: candidates above the threshold, sorted, suppressed, and taken back to their images.
//
// The steps and their numbers are those of the CPU (vision/postprocessing.py, vision/heads.py): each float operation is
// rounded as NumPy's is, and where scores are equal the candidate that stands first in the output comes first.
//
//   candidates  each row's boxes above the threshold, with a key that tells their order; counted by bins of scores, so that
//               each has a place in its bin; of maps, which are no rows yet, rows are computed where they are candidates
//   group       each key to its bin's place in the order
//   rank        each candidate to its own place: the keys in its bin that are higher are counted
//   overlaps    for each candidate of a tile of the order a bit for each one before it that it overlaps too much
//   suppress    one block for an image: a candidate is kept once all before it that it overlaps are dropped, and dropped
//               once one of them is kept; so all are decided in as many steps as the longest chain of these has links
//   pick        all of these behind the first by the few blocks of a cluster, where there are clusters
//
// Only what can come into the tile is grouped and ranked. What is behind the first tile is looked at only where too few
// are kept: all but `candidates` are launched again for the next tile, with `overlaps_of_kept`. Scores that are none, and
// more candidates than there is room for, are told in the summary: the CPU is asked instead. Whoever is done with an image
// sets what is counted back to 0 for the next.
#include "device.h"

constexpr int kThreads = 256, kRankThreads = 128, kManyThreads = 1024;
constexpr int kRows = 32, kParts = 8, kAtOnce = 10;  // YOLO's rows of a block, threads for each, and classes read together
constexpr int kKeysAtOnce = 4, kOthersAtOnce = 8;    // read together as well: memory is far away
constexpr int kScores = 2048;                        // of RetinaNet for a block
constexpr int kBins = 2048, kGroups = 1024;          // of scores; bins are added up in groups
constexpr int kBits = 32, kTile = 2048, kWords = kTile / kBits;  // candidates whose overlaps are known at once
constexpr int kCluster = 8;                                      // blocks
constexpr float kLeastScore = -0.0009f, kMostScore = 1.0009f;  // beyond them the CPU says what that is
constexpr int kLevels = 5;
constexpr int kMapRows = 256, kMostAnchors = 8;  // boxes of maps for a block, and anchors of a cell

typedef unsigned long long Key;

struct alignas(16) Box {
    float x1, y1, x2, y2;
};

// A part of an order: its first place, and that behind its last.
struct Span {
    int begin, end;

    DEVICE bool is_empty() const { return begin >= end; }
    DEVICE bool holds(int place) const { return begin <= place && place < end; }
};

// What is known of an image from kernel to kernel.
struct Counts {
    int candidates;  // where rows may have several, or levels are sorted
    int is_odd, sorted, kept, is_done;
    int of_level[kLevels];
    Span whole, whole_of_level[kLevels];  // what is grouped
};

// What the CPU reads of an image.
struct Summary {
    int candidates, is_odd, kept, is_done;
};

// How an image lies on its canvas: x on the canvas = x in the image * scale + offset.
struct Place {
    double offset_x, offset_y, scale_x, scale_y, width, height;
    float x1, y1, x2, y2;  // the image's area on the canvas
};

struct Candidate {
    Box box;
    int label, level;
};

struct Detection {
    Box box;
    float score;
    int label;
};

struct alignas(16) Labels {
    int of[4];
};

// A level of a head with anchors: each has 5 numbers and the classes, and each number a plane of the level's cells.
struct Map {
    const void* values;
    int columns, cells;
    float stride;                    // px
    float anchors[kMostAnchors][2];  // width and height in px
};

struct Outputs {
    const void* first;   // the prediction; of RetinaNet the boxes; where there are maps the first
    const void* scores;  // of RetinaNet
    int images, rows, classes;
    int level_ends[kLevels];  // rows; where there are fewer levels all of them
    float confidence, iou;
    int max_candidates, max_detections;  // the former of a level
    int is_agnostic, is_multi_label, has_levels, are_all_wanted;
    unsigned least_bits;  // of a score in the first bin; a bin has 2 ** bin_shift numbers
    int bin_shift;
    const unsigned char* wanted;  // for each class whether it is
    const Place* places;
    int capacity, sorted_capacity;  // of an image: candidates, and those that are sorted
    int round, first_tile, tile;    // candidates of the first tile and of others: whole words, at most kTile
    Counts* counts;                 // an image each
    int *bins, *level_bins;         // an image's kBins, and kLevels times as many: how many candidates each has
    int *starts, *level_starts;     // so too: how many are in higher ones
    Key* keys;                      // an image's each: `capacity` of them, and so on
    Candidate* candidates;
    int *slots, *level_slots;  // places in their bins
    Key* grouped;
    int* grouped_from;
    Detection* sorted;  // `sorted_capacity` of them
    int* sorted_labels;  // theirs, beside each other, and room for a word more
    unsigned* masks;    // (kWords, kTile)
    unsigned* dropped;  // kWords
    int* kept;          // `max_detections` of them
    Summary* summaries;  // these and what follows are the CPU's memory
    Box* boxes;          // `max_detections` of them
    float* best;
    long long* labels;
    int anchors;  // of a cell of the maps
    Map maps[kLevels];
};

DEVICE float value_of(float v) { return v; }
DEVICE float value_of(unsigned short v) { return float_of_half(v); }
DEVICE bool is_finite(float v) { return (bits_of(v) & 0x7F800000u) != 0x7F800000u; }
DEVICE bool is_finite(const Box& b) { return is_finite(b.x1) && is_finite(b.y1) && is_finite(b.x2) && is_finite(b.y2); }
DEVICE int smaller(int a, int b) { return a < b ? a : b; }

// A higher score has a higher key, and of equal ones that which comes first. Scores are above 0 here.
DEVICE Key key_of(float score, unsigned id) { return static_cast<Key>(bits_of(score)) << 32 | (0xFFFFFFFFu - id); }
DEVICE float score_of(Key key) { return float_of(static_cast<unsigned>(key >> 32)); }
DEVICE int bin_of(const Outputs& args, Key key) {
    const unsigned bits = static_cast<unsigned>(key >> 32);
    return bits < args.least_bits ? 0 : smaller(static_cast<int>((bits - args.least_bits) >> args.bin_shift), kBins - 1);
}

DEVICE bool is_score(float score) { return score >= kLeastScore && score <= kMostScore; }
DEVICE bool is_wanted(const Outputs& args, int label) { return args.are_all_wanted || args.wanted[label]; }

DEVICE int level_of(const Outputs& args, int row) {
    int level = 0;
    while (level < kLevels - 1 && row >= args.level_ends[level]) ++level;
    return level;
}

// Of rows that have one candidate at most the slot is the row, and a key of 0 is none.
DEVICE void put(const Outputs& args, int image, int slot, Key key, int label, int level, const Box& box) {
    const long long at = static_cast<long long>(image) * args.capacity + slot;
    args.keys[at] = key;
    if (!key) return;
    args.candidates[at] = {box, label, level};
    const int bin = bin_of(args, key);
    if (args.has_levels) {
        args.slots[at] = -1;  // until it is among the best of its level
        args.level_slots[at] = count_up(&args.level_bins[(image * kLevels + level) * kBins + bin]);
        count_up(&args.counts[image].of_level[level]);
    } else {
        args.slots[at] = count_up(&args.bins[image * kBins + bin]);
    }
}

DEVICE void add(const Outputs& args, int image, int row, int label, float score, const Box& box) {
    const int slot = count_up(&args.counts[image].candidates);
    if (slot >= args.capacity) return;
    const Key key = key_of(score, static_cast<unsigned>(row) * args.classes + label);
    put(args, image, slot, key, label, args.has_levels ? level_of(args, row) : 0, box);
}

// The sigmoid by the steps of vision/anchor_maps.py: exp(-|v|) is a power of 2 times exp(r), of which this is Taylor's sum.
DEVICE float sigmoid_of(float v) {
    constexpr float FAR = 110.0f, LOG2_E = 1.44269504f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f;
    const float size = v < 0 ? -v : v, a = size < FAR ? size : FAR;
    const float n = rintf(a * -LOG2_E), r = (-a - n * LN2_HIGH) - n * LN2_LOW;
    float sum = 1.0f / 5040.0f;
    sum = sum * r + 1.0f / 720.0f;
    sum = sum * r + 1.0f / 120.0f;
    sum = sum * r + 1.0f / 24.0f;
    sum = sum * r + 1.0f / 6.0f;
    sum = sum * r + 1.0f / 2.0f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    // In two steps, each power a float of its own: what is below the least of them is rounded once.
    const int power = static_cast<int>(n), first = power >> 1, second = power - first;
    const float t = sum * float_of((first + 127u) << 23) * float_of((second + 127u) << 23);
    return v != v ? v : (v < 0 ? t : 1.0f) / (1.0f + t);
}

// YOLO's rows: centre, sides, objectness where there is one, and classes, `step` apart.
template <bool OBJECTNESS, typename Value>
struct Row {
    static constexpr int kFirst = OBJECTNESS ? 5 : 4;
    const Value* values;
    long long step;

    DEVICE Row(const Outputs& args, int image, int row) {
        const int length = kFirst + args.classes;
        values = static_cast<const Value*>(args.first) + static_cast<long long>(image) * args.rows * length;
        values += OBJECTNESS ? static_cast<long long>(row) * length : row;
        step = OBJECTNESS ? 1 : args.rows;
    }
    DEVICE float at(int place) const { return value_of(values[place * step]); }
    DEVICE float objectness() const { return OBJECTNESS ? at(4) : 1.0f; }
    DEVICE float of_class(int label) const { return at(kFirst + label); }
    DEVICE static float score(float number) { return number; }
    DEVICE static float weighed(float score, float objectness) { return OBJECTNESS ? score * objectness : score; }
};

DEVICE Box box_of(float x, float y, float width, float height) {
    const float half_width = width / 2, half_height = height / 2;
    return {x - half_width, y - half_height, x + half_width, y + half_height};
}

// A cell of a map for one of its anchors, in the order of rows: its numbers are logits.
template <typename Value>
struct Cell {
    const Map& map;
    const Value* values;
    int anchor, index;

    DEVICE Cell(const Outputs& args, int image, int row) : map(args.maps[level_of(args, row)]) {
        const int level = level_of(args, row), of_level = row - (level > 0 ? args.level_ends[level - 1] : 0);
        anchor = of_level / map.cells;
        index = of_level % map.cells;
        const long long plane = (static_cast<long long>(image) * args.anchors + anchor) * (5 + args.classes);
        values = static_cast<const Value*>(map.values) + plane * map.cells + index;
    }
    DEVICE float at(int place) const { return value_of(values[static_cast<long long>(place) * map.cells]); }
    DEVICE float objectness() const { return sigmoid_of(at(4)); }
    DEVICE float of_class(int label) const { return at(5 + label); }
    DEVICE static float score(float number) { return sigmoid_of(number); }
    DEVICE static float weighed(float score, float objectness) { return score * objectness; }

    DEVICE float centre(float sigmoid, int cell) const {
        return sigmoid * (2 * map.stride) + (static_cast<float>(cell) - 0.5f) * map.stride;
    }
    DEVICE float side(float sigmoid, float anchor_px) const { return sigmoid * (4 * anchor_px) * sigmoid; }
    DEVICE Box box() const {
        const float x = at(0), y = at(1), width = at(2), height = at(3);  // under way before the first is used
        return box_of(centre(sigmoid_of(x), index % map.columns), centre(sigmoid_of(y), index / map.columns),
                      side(sigmoid_of(width), map.anchors[anchor][0]), side(sigmoid_of(height), map.anchors[anchor][1]));
    }
};

// The best class above the threshold of those that one of kParts threads looks through, as a key, or 0.
template <typename Row>
DEVICE Key best_class(const Outputs& args, const Row& row, float objectness, int part, bool& is_odd) {
    float most = args.confidence;
    int which = -1;
    const int last = args.classes - 1;  // looked at again where a part has fewer, as a higher one: the first wins
    for (int from = part; from < args.classes; from += kAtOnce * kParts) {
        float values[kAtOnce];
        // Two ways, which the compiler does not mix with what follows: so all are under way before the first is used.
        if (from + (kAtOnce - 1) * kParts <= last) {
UNROLL(kAtOnce)
            for (int k = 0; k < kAtOnce; ++k) values[k] = row.of_class(from + k * kParts);
        } else {
UNROLL(kAtOnce)
            for (int k = 0; k < kAtOnce; ++k) values[k] = row.of_class(smaller(from + k * kParts, last));
        }
UNROLL(kAtOnce)
        for (int k = 0; k < kAtOnce; ++k) {
            const float of_class = Row::score(values[k]), score = Row::weighed(of_class, objectness);
            is_odd |= !is_score(of_class);
            if (score > most) most = score, which = from + k * kParts;
        }
    }
    return which >= 0 ? key_of(most, which) : 0;
}

// Several threads look through a row's classes. A row has a candidate for its best class, or for each that is good.
template <bool OBJECTNESS, typename Value>
DEVICE void candidates_of_yolo(const Outputs& args) {
    SHARED Key best[kParts][kRows + 1];  // by one more, so that fewer of those written together are in one bank
    SHARED float sides[4][kRows];
    const int image = block_z(), first = block_x() * kRows, rows = smaller(kRows, args.rows - first);
    bool is_odd = false;
    for (int i = thread_index(); i < kRows * kParts; i += thread_count<kThreads>()) {
        // Neighbours read neighbouring numbers.
        const int index = OBJECTNESS ? i / kParts : i % kRows, part = OBJECTNESS ? i % kParts : i / kRows;
        if (index >= rows) continue;
        const Row<OBJECTNESS, Value> row(args, image, first + index);
        const float objectness = row.objectness(), side = row.at(part & 3);  // used behind all reads, which go together
        const Key found = best_class(args, row, objectness, part, is_odd);
        const Key key = !OBJECTNESS || objectness > args.confidence ? found : 0;
        best[part][index] = key;
        if (part < 4) sides[part][index] = side;
        is_odd |= !is_score(objectness);
        if (!args.is_multi_label || !key) continue;
        const Box box = box_of(row.at(0), row.at(1), row.at(2), row.at(3));
        for (int label = part; label < args.classes; label += kParts) {
            const float score = OBJECTNESS ? row.of_class(label) * objectness : row.of_class(label);
            if (score > args.confidence && is_wanted(args, label) && is_finite(box))
                add(args, image, first + index, label, score, box);
        }
    }
    if (is_odd) args.counts[image].is_odd = 1;
    if (args.is_multi_label) return;
    sync_block();
    for (int i = thread_index(); i < rows; i += thread_count<kThreads>()) {
        Key key = 0;
        for (int part = 0; part < kParts; ++part) key = best[part][i] > key ? best[part][i] : key;
        const int label = static_cast<int>(0xFFFFFFFFu - static_cast<unsigned>(key));
        const Box box = box_of(sides[0][i], sides[1][i], sides[2][i], sides[3][i]);
        const bool is_good = key && is_wanted(args, label) && is_finite(box);
        put(args, image, first + i, is_good ? key_of(score_of(key), first + i) : 0, label, 0, box);
    }
}

// Of maps the objectness of each box is computed, and all else of those alone that are above the threshold.
template <typename Value>
DEVICE void candidates_of_maps(const Outputs& args) {
    SHARED int count, found[kMapRows];  // which boxes are above it, in any order: keys tell theirs
    SHARED float objectness_of[kMapRows];
    SHARED Key best[kParts][kMapRows];
    const int image = block_z(), first = block_x() * kMapRows, rows = smaller(kMapRows, args.rows - first);
    bool is_odd = false;
    if (thread_index() == 0) count = 0;
    sync_block();
    for (int i = thread_index(); i < rows; i += thread_count<kThreads>()) {
        const float objectness = Cell<Value>(args, image, first + i).objectness();
        is_odd |= !is_score(objectness);
        if (objectness > args.confidence) {
            const int place = count_up(&count);
            found[place] = first + i;
            objectness_of[place] = objectness;
        } else if (!args.is_multi_label) {
            put(args, image, first + i, 0, 0, 0, {});
        }
    }
    sync_block();
UNROLL(1)
    for (int i = thread_index(); i < count * kParts; i += thread_count<kThreads>()) {
        const int place = i % count, part = i / count;  // neighbours read what is near where boxes are
        const Cell<Value> cell(args, image, found[place]);
        const float objectness = objectness_of[place];
        const Key key = best_class(args, cell, objectness, part, is_odd);
        best[part][place] = key;
        if (!args.is_multi_label || !key) continue;
        const Box box = cell.box();
UNROLL(1)
        for (int label = part; label < args.classes; label += kParts) {
            const float score = cell.weighed(cell.score(cell.of_class(label)), objectness);
            if (score > args.confidence && is_wanted(args, label) && is_finite(box))
                add(args, image, found[place], label, score, box);
        }
    }
    if (is_odd) args.counts[image].is_odd = 1;
    if (args.is_multi_label) return;
    sync_block();
UNROLL(1)
    for (int i = thread_index(); i < count; i += thread_count<kThreads>()) {
        Key key = 0;
        for (int part = 0; part < kParts; ++part) key = best[part][i] > key ? best[part][i] : key;
        const int label = static_cast<int>(0xFFFFFFFFu - static_cast<unsigned>(key)), row = found[i];
        const Box box = key ? Cell<Value>(args, image, row).box() : Box{};
        const bool is_good = key && is_wanted(args, label) && is_finite(box);
        put(args, image, row, is_good ? key_of(score_of(key), row) : 0, label, 0, box);
    }
}

DEVICE float between(float v, float low, float high) {
    v = v < low ? low : v;  // what is not a number stays so
    return v > high ? high : v;
}

template <typename Value>
DEVICE void candidates_of_retinanet(const Outputs& args) {
    const int image = block_z();
    const Value *boxes = static_cast<const Value*>(args.first) + 4ll * image * args.rows,
                *scores = static_cast<const Value*>(args.scores) + static_cast<long long>(image) * args.rows * args.classes;
    const Place& place = args.places[image];
    const long long all = static_cast<long long>(args.rows) * args.classes, first = static_cast<long long>(block_x()) * kScores;
    bool is_odd = false;
UNROLL(4)
    for (int i = thread_index(); i < kScores; i += thread_count<kThreads>()) {
        if (first + i >= all) break;
        const float score = value_of(scores[first + i]);
        is_odd |= !is_score(score);
        if (!(score > args.confidence)) continue;
        const int row = static_cast<int>((first + i) / args.classes), label = static_cast<int>((first + i) % args.classes);
        const Value* box = boxes + 4ll * row;
        add(args, image, row, label, score,
            {between(value_of(box[0]), place.x1, place.x2), between(value_of(box[1]), place.y1, place.y2),
             between(value_of(box[2]), place.x1, place.x2), between(value_of(box[3]), place.y1, place.y2)});
    }
    if (is_odd) args.counts[image].is_odd = 1;
}

KERNEL(candidates_yolov5_float32, Outputs, kThreads) { candidates_of_yolo<true, float>(args); }
KERNEL(candidates_yolov5_float16, Outputs, kThreads) { candidates_of_yolo<true, unsigned short>(args); }
KERNEL(candidates_yolov5_raw_float32, Outputs, kThreads) { candidates_of_maps<float>(args); }
KERNEL(candidates_yolov5_raw_float16, Outputs, kThreads) { candidates_of_maps<unsigned short>(args); }
KERNEL(candidates_yolov8_float32, Outputs, kThreads) { candidates_of_yolo<false, float>(args); }
KERNEL(candidates_yolov8_float16, Outputs, kThreads) { candidates_of_yolo<false, unsigned short>(args); }
KERNEL(candidates_retinanet_float32, Outputs, kThreads) { candidates_of_retinanet<float>(args); }
KERNEL(candidates_retinanet_float16, Outputs, kThreads) { candidates_of_retinanet<unsigned short>(args); }

// Whether nothing is left to do for an image: the CPU is asked, or an earlier tile was the last.
DEVICE bool is_over(const Outputs& args, const Counts& counts) {
    // All are read at once, one behind the other would take as long each.
    return (counts.is_odd != 0) | (counts.candidates > args.capacity) | ((args.round > 0) & (counts.is_done != 0));
}

// A tile of so many that are sorted.
DEVICE Span tile_of(const Outputs& args, int sorted) {
    const int begin = args.round > 0 ? args.first_tile + (args.round - 1) * args.tile : 0;
    return {begin, smaller(begin + (args.round > 0 ? args.tile : args.first_tile), sorted)};
}

// What is sorted: the candidates of an image, or those of a level of its, where only the best ones are wanted.
template <bool WITHIN_LEVELS>
struct Order {
    int *bins, *starts;  // kBins
    Span* whole;         // the bins that hold what is wanted
    long long image_at, at;  // of the image's candidates, and of those of the level

    DEVICE Order(const Outputs& args, Counts& counts, int image, int level) {
        const int bins_at = (WITHIN_LEVELS ? image * kLevels + level : image) * kBins;
        bins = (WITHIN_LEVELS ? args.level_bins : args.bins) + bins_at;
        starts = (WITHIN_LEVELS ? args.level_starts : args.starts) + bins_at;
        whole = WITHIN_LEVELS ? &counts.whole_of_level[level] : &counts.whole;
        image_at = at = static_cast<long long>(image) * args.capacity;
        for (int i = 0; WITHIN_LEVELS && i < level; ++i) at += counts.of_level[i];
    }
    // What is wanted of all; the best of all levels together are as many as may be sorted.
    DEVICE Span wanted(const Outputs& args, int all) const {
        return WITHIN_LEVELS ? Span{0, smaller(args.max_candidates, all)} : tile_of(args, smaller(args.sorted_capacity, all));
    }
};

// Each block adds the bins up, and takes its part of the candidates to their places.
template <bool WITHIN_LEVELS, int THREADS>
DEVICE void group_keys(const Outputs& args) {
    constexpr int EACH = kBins / kGroups;
    SHARED int starts[kBins + kGroups], sums[2][kGroups];  // a group has a place more, so that no two are in one bank
    auto start_of = [](int bin) -> int& { return starts[bin + bin / EACH]; };
    const int image = block_z(), level = block_y();
    Counts& counts = args.counts[image];
    const bool is_none = is_over(args, counts);
    const Order<WITHIN_LEVELS> order(args, counts, image, level);
UNROLL(1)
    for (int group = thread_index(); group < kGroups; group += thread_count<THREADS>()) {
        int sum = 0;
        for (int i = 0; i < EACH; ++i) sum += start_of(group * EACH + i) = order.bins[group * EACH + i];
        sums[0][group] = sum;
    }
    if (is_none) return;
    sync_block();
    int from = 0;
UNROLL(1)
    for (int step = 1; step < kGroups; step *= 4, from ^= 1) {
UNROLL(1)
        for (int group = thread_index(); group < kGroups; group += thread_count<THREADS>()) {
            int sum = 0;
            for (int k = 0; k < 4; ++k) sum += group + k * step < kGroups ? sums[from][group + k * step] : 0;
            sums[from ^ 1][group] = sum;
        }
        sync_block();
    }
    const int all = sums[from][0];
    const Span wanted = order.wanted(args, all);
    if (block_x() == 0 && thread_index() == 0 && !WITHIN_LEVELS) counts.sorted = smaller(all, args.sorted_capacity);
    if (wanted.is_empty()) return;
UNROLL(1)
    for (int group = thread_index(); group < kGroups; group += thread_count<THREADS>()) {
        int start = group + 1 < kGroups ? sums[from][group + 1] : 0;
UNROLL(EACH)
        for (int i = 1; i <= EACH; ++i) {
            const int bin = (group + 1) * EACH - i;
            const Span span = {start, start + start_of(bin)};
            start_of(bin) = start;
            if (block_x() == 0) {
                order.starts[bin] = start;
                if (span.holds(wanted.begin)) order.whole->begin = span.begin;
                if (span.holds(wanted.end - 1)) order.whole->end = span.end;
            }
            start = span.end;
        }
    }
    sync_block();
    const int entries = args.is_multi_label ? counts.candidates : args.rows;
    const int first = block_x() * thread_count<THREADS>() + thread_index(), step = grid_x() * thread_count<THREADS>();
UNROLL(1)
    for (int begin = first; begin < entries; begin += kKeysAtOnce * step) {
        Key keys[kKeysAtOnce];
        int slots[kKeysAtOnce];
UNROLL(kKeysAtOnce)
        for (int k = 0; k < kKeysAtOnce; ++k) {
            const long long at = order.image_at + smaller(begin + k * step, entries - 1);
            keys[k] = args.keys[at];
            slots[k] = (WITHIN_LEVELS ? args.level_slots : args.slots)[at];
            if (WITHIN_LEVELS && args.candidates[at].level != level) keys[k] = 0;
        }
UNROLL(kKeysAtOnce)
        for (int k = 0; k < kKeysAtOnce; ++k) {
            const int i = begin + k * step;
            if (i >= entries || !keys[k] || slots[k] < 0) continue;
            const int bin = bin_of(args, keys[k]), start = start_of(bin), end = bin > 0 ? start_of(bin - 1) : all;
            if (start >= wanted.end || end <= wanted.begin) continue;
            args.grouped[order.at + start + slots[k]] = keys[k];
            args.grouped_from[order.at + start + slots[k]] = i;
        }
    }
}

KERNEL(group_in_levels, Outputs, kThreads) { group_keys<true, kThreads>(args); }
KERNEL(group, Outputs, kThreads) { group_keys<false, kThreads>(args); }

// A level's best are candidates of the image, if their class and box are those that may be found.
DEVICE void place(const Outputs& args, const Order<true>& order, int image, Key key, int from, const Candidate& own, int) {
    if (!is_wanted(args, own.label) || !is_finite(own.box)) return;
    args.slots[order.image_at + from] = count_up(&args.bins[image * kBins + bin_of(args, key)]);
}

// The labels of an image's candidates, from a word of a tile on.
DEVICE int* labels_from(const Outputs& args, int image, int first) {
    const long long room = (args.sorted_capacity + 2 * kBits - 1) / kBits * kBits;
    return args.sorted_labels + image * room + first;
}

DEVICE void place(const Outputs& args, const Order<false>&, int image, Key key, int, const Candidate& own, int rank) {
    args.sorted[static_cast<long long>(image) * args.sorted_capacity + rank] = {own.box, score_of(key), own.label};
    *labels_from(args, image, rank) = own.label;
}

template <bool WITHIN_LEVELS, int THREADS>
DEVICE void rank_keys(const Outputs& args) {
    const int image = block_z(), level = block_y();
    Counts& counts = args.counts[image];
    const Order<WITHIN_LEVELS> order(args, counts, image, level);
    const Span whole = *order.whole, wanted = order.wanted(args, WITHIN_LEVELS ? counts.of_level[level] : counts.sorted);
    if (is_over(args, counts) || wanted.is_empty()) return;
    const Key* grouped = args.grouped + order.at;
    const int first = whole.begin + block_x() * thread_count<THREADS>() + thread_index();
UNROLL(1)
    for (int i = first; i < whole.end; i += grid_x() * thread_count<THREADS>()) {
        const Key key = grouped[i];
        const int from = args.grouped_from[order.at + i];
        const Candidate own = args.candidates[order.image_at + from];
        const int bin = bin_of(args, key), start = order.starts[bin], end = start + order.bins[bin];
        int rank = start;
UNROLL(1)
        for (int begin = start; begin < end; begin += kOthersAtOnce) {
            Key others[kOthersAtOnce];
UNROLL(kOthersAtOnce)
            for (int k = 0; k < kOthersAtOnce; ++k) others[k] = grouped[smaller(begin + k, end - 1)];
UNROLL(kOthersAtOnce)
            for (int k = 0; k < kOthersAtOnce; ++k) rank += begin + k < end && others[k] > key;
        }
        if (wanted.holds(rank)) place(args, order, image, key, from, own, rank);
    }
}

KERNEL(rank_in_levels, Outputs, kRankThreads) { rank_keys<true, kRankThreads>(args); }
KERNEL(rank, Outputs, kRankThreads) { rank_keys<false, kRankThreads>(args); }

DEVICE bool may_drop(const Outputs& args, const Detection& a, const Detection& b) {
    return a.label == b.label || args.is_agnostic;
}

// Whether two boxes' intersection over union is above the threshold: box_iou of vision/boxes.py, step by step.
DEVICE bool overlap(const Outputs& args, const Detection& a, const Detection& b) {
    const float right = a.box.x2 < b.box.x2 ? a.box.x2 : b.box.x2, left = a.box.x1 > b.box.x1 ? a.box.x1 : b.box.x1;
    const float bottom = a.box.y2 < b.box.y2 ? a.box.y2 : b.box.y2, top = a.box.y1 > b.box.y1 ? a.box.y1 : b.box.y1;
    const float width = right - left, height = bottom - top;
    if (!(width > 0 && height > 0)) return false;  // 0, or not a number: never above a threshold
    const float intersection = width * height;
    const float area_a = (a.box.x2 - a.box.x1) * (a.box.y2 - a.box.y1);
    const float area_b = (b.box.x2 - b.box.x1) * (b.box.y2 - b.box.y1);
    return intersection / (area_a + area_b - intersection) > args.iou;
}

// Of the candidates of a tile those that a box of an earlier tile, which is kept, overlaps; a block makes a word.
KERNEL(overlaps_of_kept, Outputs, kBits) {
    SHARED unsigned bits;
    const int image = block_z(), first = block_x() * kBits;
    const Counts& counts = args.counts[image];
    if (is_over(args, counts)) return;
    const Span tile = tile_of(args, counts.sorted);
    const Detection* sorted = args.sorted + static_cast<long long>(image) * args.sorted_capacity;
    const int* kept = args.kept + static_cast<long long>(image) * args.max_detections;
    if (thread_index() == 0) bits = 0;
    sync_block();
    for (int i = thread_index(); i < kBits && tile.begin + first + i < tile.end; i += thread_count<kBits>()) {
        const Detection own = sorted[tile.begin + first + i];
        bool is_dropped = false;
        for (int k = 0; k < counts.kept && !is_dropped; ++k) 
            is_dropped = may_drop(args, sorted[kept[k]], own) && overlap(args, sorted[kept[k]], own);
        if (is_dropped) or_into(&bits, 1u << i);
    }
    sync_block();
    if (thread_index() == 0) args.dropped[image * kWords + block_x()] = bits;
}

// For each candidate of a tile a word for each 32 of those before it, its own among them: those that it overlaps. Of 32
// candidates side by side each is compared with the same 32 others.
template <int THREADS>
DEVICE void compare(const Outputs& args) {
    const int image = block_z();
    const Counts& counts = args.counts[image];
    if (is_over(args, counts)) return;
    const Span tile = tile_of(args, counts.sorted);
    const int count = tile.end - tile.begin, words = (count + kBits - 1) / kBits;
    const Detection* sorted = args.sorted + static_cast<long long>(image) * args.sorted_capacity + tile.begin;
    unsigned* masks = args.masks + static_cast<long long>(image) * kTile * kWords;
    const int first = block_x() * thread_count<THREADS>() + thread_index();
UNROLL(1)
    for (int i = first; i < words * (words + 1) / 2 * kBits; i += grid_x() * thread_count<THREADS>()) {
        // Those of candidates 0 to 31 are one word, those of the next 32 two, and so on.
        const int task = i / kBits, party = static_cast<int>((sqrtf(static_cast<float>(8 * task + 1)) - 1) / 2);
        const int word = task - party * (party + 1) / 2, index = party * kBits + i % kBits;
        if (index >= count) continue;
        const Detection own = sorted[index];
        const Detection* others = sorted + word * kBits;
        const int before = index - word * kBits;  // of these and of those behind them
        // Each thread of 32 reads one of the others, so that all are near before their boxes are asked for in turn. What
        // it reads has to be used, or it would not be read: a label is never below 0.
        const int label = others[smaller(i % kBits, count - word * kBits - 1)].label >= 0 ? own.label : -1;
        const Labels* from = reinterpret_cast<const Labels*>(labels_from(args, image, tile.begin + word * kBits));
        Labels labels[kBits / 4];
UNROLL(kBits / 4)
        for (int k = 0; k < kBits / 4; ++k) labels[k] = from[k];
        unsigned like = 0, bits = 0;  // those of its class, and of these those that overlap it
UNROLL(kBits)
        for (int j = 0; j < kBits; ++j) like |= static_cast<unsigned>(labels[j / 4].of[j % 4] == label) << j;
        if (args.is_agnostic) like = ~0u;
        if (before < kBits) like &= (1u << before) - 1;
UNROLL(1)
        for (; like; like &= like - 1)
            if (overlap(args, others[lowest_bit(like)], own)) bits |= like & -like;
        masks[word * kTile + index] = bits;
    }
}

KERNEL(overlaps, Outputs, kThreads) { compare<kThreads>(args); }

// Placement.to_source, of vision: in double, and cut to the image.
DEVICE float on_source(float v, double offset, double scale, double most) {
    const double source = (v - offset) / scale, above = source < 0 ? 0 : source;
    return static_cast<float>(above > most ? most : above);
}

enum Verdict { WAITS, IS_KEPT, IS_DROPPED };

// The words, a bit each, in which there is one before a candidate that it overlaps.
DEVICE Key rivals_of(const unsigned* masks, int index) {
    Key rivals = 0;
UNROLL(1)
    for (int begin = 0; begin <= index / kBits; begin += kOthersAtOnce) {
        unsigned bits[kOthersAtOnce], some = 0;
UNROLL(kOthersAtOnce)
        for (int k = 0; k < kOthersAtOnce; ++k)
            bits[k] = begin + k <= index / kBits ? masks[(begin + k) * kTile + index] : 0;
UNROLL(kOthersAtOnce)
        for (int k = 0; k < kOthersAtOnce; ++k) some |= static_cast<unsigned>(bits[k] != 0) << k;
        rivals |= static_cast<Key>(some) << begin;
    }
    return rivals;
}

// What becomes of a candidate by what is kept, and what is undecided, of its rivals; those that are decided go.
DEVICE Verdict verdict_on(const unsigned* masks, int index, const unsigned* kept, const unsigned* undecided, Key& rivals) {
    Key waits = 0;
UNROLL(1)
    for (Key left = rivals; left; left &= left - 1) {
        const int word = lowest_bit(left);
        const unsigned bits = masks[word * kTile + index];
        if (bits & kept[word]) return IS_DROPPED;
        if (bits & undecided[word]) waits |= left & -left;
    }
    rivals = waits;
    return waits ? WAITS : IS_KEPT;
}

DEVICE void clear(int* numbers, int count) {
UNROLL(1)
    for (int i = thread_index(); i < count; i += thread_count<kManyThreads>()) numbers[i] = 0;
}

DEVICE void decide(const Outputs& args) {
    SHARED unsigned kept[kWords], undecided[kWords];
    SHARED int before[kWords + 1];  // how many are kept before a word
    SHARED unsigned char verdicts[kTile];
    SHARED Key rivals[kTile];
    SHARED unsigned short chosen[kTile];  // those that are kept
    SHARED int someone_waits[2];
    const int image = block_z();
    Counts& counts = args.counts[image];
    if (args.round > 0 && counts.is_done) return;
    const bool is_none = is_over(args, counts);
    const int sorted_count = is_none ? 0 : counts.sorted, already = args.round > 0 ? counts.kept : 0;
    const Span tile = tile_of(args, sorted_count);
    const int count = tile.is_empty() ? 0 : tile.end - tile.begin, words = (count + kBits - 1) / kBits;
    const unsigned* masks = args.masks + static_cast<long long>(image) * kTile * kWords;
UNROLL(1)
    for (int word = thread_index(); word < kWords; word += thread_count<kManyThreads>()) {
        const int behind = count - word * kBits;
        const unsigned all = behind >= kBits ? ~0u : behind > 0 ? (1u << behind) - 1 : 0;
        undecided[word] = args.round > 0 ? all & ~args.dropped[image * kWords + word] : all;
        kept[word] = 0;
    }
    if (thread_index() == 0) someone_waits[0] = someone_waits[1] = 0;
    sync_block();
UNROLL(1)
    for (int i = thread_index(); i < count; i += thread_count<kManyThreads>()) rivals[i] = rivals_of(masks, i);
    for (int step = 0, goes_on = count > 0; goes_on; step ^= 1) {
UNROLL(1)
        for (int i = thread_index(); i < count; i += thread_count<kManyThreads>()) {
            verdicts[i] = WAITS;
            if (!(undecided[i / kBits] >> i % kBits & 1)) continue;
            verdicts[i] = verdict_on(masks, i, kept, undecided, rivals[i]);
            if (verdicts[i] == WAITS) someone_waits[step] = 1;
        }
        sync_block();
        goes_on = someone_waits[step];
        if (thread_index() == 0) someone_waits[step ^ 1] = 0;
UNROLL(1)
        for (int i = thread_index(); i < count; i += thread_count<kManyThreads>()) {
            const unsigned bit = 1u << i % kBits;
            if (verdicts[i] == IS_KEPT) or_into(&kept[i / kBits], bit);
            if (verdicts[i] != WAITS) and_into(&undecided[i / kBits], ~bit);
        }
        sync_block();
    }
UNROLL(1)
    for (int word = thread_index(); word <= words; word += thread_count<kManyThreads>()) {
        int sum = already;
UNROLL(8)
        for (int i = 0; i < word; ++i) sum += ones_in(kept[i]);
        before[word] = sum;
    }
    sync_block();
    const int total = smaller(before[words], args.max_detections);
    const bool is_done = is_none || total >= args.max_detections || tile.end >= sorted_count;
    const long long of_image = static_cast<long long>(image) * args.max_detections;
UNROLL(1)
    for (int i = thread_index(); i < count; i += thread_count<kManyThreads>()) {
        const unsigned word = kept[i / kBits], bit = 1u << i % kBits;
        const int rank = before[i / kBits] + ones_in(word & (bit - 1));
        if (!(word & bit) || rank >= args.max_detections) continue;
        args.kept[of_image + rank] = tile.begin + i;
        chosen[rank - already] = static_cast<unsigned short>(i);
    }
    sync_block();  // all have read the counts
    if (thread_index() == 0) {
        args.summaries[image] = {counts.candidates, counts.is_odd, total, is_done};
        counts.kept = total;
        counts.is_done = is_done;
        if (is_done) counts.candidates = counts.is_odd = 0;
    }
    // A thread for each side of a box, as divisions take long.
    const Detection* sorted = args.sorted + static_cast<long long>(image) * args.sorted_capacity + tile.begin;
    const Place& place = args.places[image];
UNROLL(1)
    for (int i = thread_index(); i < 4 * (total - already); i += thread_count<kManyThreads>()) {
        const int side = i % 4, is_y = side % 2;
        const long long to = of_image + already + i / 4;
        const Detection& own = sorted[chosen[i / 4]];
        reinterpret_cast<float*>(args.boxes + to)[side] = on_source(
            reinterpret_cast<const float*>(&own.box)[side], is_y ? place.offset_y : place.offset_x,
            is_y ? place.scale_y : place.scale_x, is_y ? place.height : place.width);
        if (side == 0) args.best[to] = own.score;
        if (side == 1) args.labels[to] = own.label;
    }
    if (!is_done) return;
    clear(args.bins + image * kBins, kBins);
    if (!args.has_levels) return;
    clear(args.level_bins + image * kLevels * kBins, kLevels * kBins);
    clear(counts.of_level, kLevels);
}

KERNEL(suppress, Outputs, kManyThreads) { decide(args); }

#ifdef CLUSTER_KERNEL
CLUSTER_KERNEL(pick, Outputs, kManyThreads, kCluster) {
    group_keys<false, kManyThreads>(args);
    sync_cluster();
    rank_keys<false, kManyThreads>(args);
    sync_cluster();
    compare<kManyThreads>(args);
    sync_cluster();
    if (block_x() == 0) decide(args);
}
#endif
