// A network's outputs to detections: candidates above the threshold, sorted, suppressed, and taken back to their images.
//
// The steps and their numbers are those of the CPU (vision/postprocessing.py, vision/heads.py): each float operation is
// rounded as NumPy's is, and where scores are equal the candidate that stands first in the output comes first.
//
//   begin        sets what is counted to 0
//   candidates   each row's boxes above the threshold, in any order, with a key that tells their order
//   rank         how many keys are higher: a candidate's place in the order, by comparing all with all
//   sort         each candidate to its place
//   overlaps     for a tile of the order, a bit for each pair that overlaps too much: blocks of 64 x 64
//   suppress     one block for an image goes through the tile: what is kept drops those that it overlaps
//
// What is behind the first tile is looked at only where too few are kept: `overlaps` and `suppress` are launched again
// for the next tile, behind `overlaps_of_kept`. Scores that are none, and more candidates than there is room for, are
// told in `odd` and `counts`: the CPU is asked instead.
#include "device.h"

constexpr int kThreads = 256, kRowThreads = 128, kBits = 64, kSuppressThreads = 256;
constexpr int kTile = 8192, kWords = kTile / kBits;  // candidates whose overlaps are known at once, and their words
constexpr float kLeastScore = -0.0009f, kMostScore = 1.0009f;  // beyond them the CPU says what that is
constexpr int kLevels = 5;

typedef unsigned long long Bits;

struct Box {
    float x1, y1, x2, y2;
};

struct Counts {
    int candidates, sorted, kept, is_done;
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

struct Outputs {
    const void* first;   // the prediction; of RetinaNet the boxes
    const void* scores;  // of RetinaNet
    int images, rows, classes;
    int level_ends[kLevels];  // rows; of YOLO the last is all of them
    float confidence, iou;
    int max_candidates, max_detections;  // the former of a level
    int is_agnostic, is_multi_label, has_levels;
    const unsigned char* wanted;  // for each class whether it is
    const Place* places;
    int capacity, sorted_capacity;  // of an image: candidates, and those that are sorted
    int round;                      // the tile
    Counts* counts;                 // an image each
    int* odd;
    Bits* keys;  // an image's each: `capacity` of them, and so on
    Candidate* candidates;
    int *ranks, *level_ranks;
    Detection* sorted;  // `sorted_capacity` of them
    Bits* masks;        // (kTile, kWords)
    Bits* dropped;      // kWords
    int* kept;          // `max_detections` of them
    Detection* results;
};

DEVICE float value_of(float v) { return v; }
DEVICE float value_of(unsigned short v) { return float_of_half(v); }
DEVICE bool is_finite(float v) { return (bits_of(v) & 0x7F800000u) != 0x7F800000u; }
DEVICE bool is_finite(const Box& b) { return is_finite(b.x1) && is_finite(b.y1) && is_finite(b.x2) && is_finite(b.y2); }

// A higher score has a higher key, and of equal ones that which comes first.
DEVICE Bits key_of(float score, unsigned id) { return static_cast<Bits>(bits_of(score)) << 32 | (0xFFFFFFFFu - id); }
DEVICE float score_of(Bits key) { return float_of(static_cast<unsigned>(key >> 32)); }

DEVICE void check_score(const Outputs& args, float score) {
    if (!(score >= kLeastScore && score <= kMostScore)) *args.odd = 1;
}

DEVICE int level_of(const Outputs& args, int row) {
    int level = 0;
    while (level < kLevels - 1 && row >= args.level_ends[level]) ++level;
    return level;
}

DEVICE void add(const Outputs& args, int image, int row, int label, float score, const Box& box) {
    const int slot = count_up(&args.counts[image].candidates);
    if (slot >= args.capacity) return;
    const long long at = static_cast<long long>(image) * args.capacity + slot;
    args.keys[at] = key_of(score, static_cast<unsigned>(row) * args.classes + label);
    args.candidates[at] = {box, label, level_of(args, row)};
    args.ranks[at] = 0;
    args.level_ranks[at] = 0;
}

// YOLO's rows: centre, sides, objectness where there is one, and classes, `step` apart.
template <bool OBJECTNESS, typename Value>
DEVICE void candidates_of_yolo(const Outputs& args, const Value* row, long long step, int image, int index) {
    constexpr int FIRST = OBJECTNESS ? 5 : 4;
    auto value = [&](int place) { return value_of(row[place * step]); };
    const float objectness = OBJECTNESS ? value(4) : 1.0f;
    if (OBJECTNESS) check_score(args, objectness);
    const bool is_object = !OBJECTNESS || objectness > args.confidence;
    Box box = {0, 0, 0, 0};
    if (is_object) {
        const float x = value(0), y = value(1), half_width = value(2) / 2, half_height = value(3) / 2;
        box = {x - half_width, y - half_height, x + half_width, y + half_height};
    }
    const bool is_good = is_object && is_finite(box);
    float best = -1.0f;
    int best_label = 0;
    for (int label = 0; label < args.classes; ++label) {
        const float of_class = value(FIRST + label);
        check_score(args, of_class);
        const float score = OBJECTNESS ? of_class * objectness : of_class;
        if (args.is_multi_label) {
            if (is_good && score > args.confidence && args.wanted[label]) add(args, image, index, label, score, box);
        } else if (score > best) {
            best = score;
            best_label = label;
        }
    }
    if (!args.is_multi_label && is_good && best > args.confidence && args.wanted[best_label])
        add(args, image, index, best_label, best, box);
}

template <typename Value>
DEVICE void candidates_of_yolov5(const Outputs& args, int image, int row) {
    const int length = 5 + args.classes;
    const Value* of_image = static_cast<const Value*>(args.first) + static_cast<long long>(image) * args.rows * length;
    candidates_of_yolo<true>(args, of_image + static_cast<long long>(row) * length, 1, image, row);
}

template <typename Value>
DEVICE void candidates_of_yolov8(const Outputs& args, int image, int row) {
    const int length = 4 + args.classes;
    const Value* of_image = static_cast<const Value*>(args.first) + static_cast<long long>(image) * args.rows * length;
    candidates_of_yolo<false>(args, of_image + row, args.rows, image, row);
}

DEVICE float between(float v, float low, float high) {
    v = v < low ? low : v;  // what is not a number stays so
    return v > high ? high : v;
}

template <typename Value>
DEVICE void candidates_of_retinanet(const Outputs& args, int image, int row) {
    const long long at = static_cast<long long>(image) * args.rows + row;
    const Value *box = static_cast<const Value*>(args.first) + 4 * at,
                *scores = static_cast<const Value*>(args.scores) + at * args.classes;
    const Place& place = args.places[image];
    for (int label = 0; label < args.classes; ++label) {
        const float score = value_of(scores[label]);
        check_score(args, score);
        if (score > args.confidence)
            add(args, image, row, label, score,
                {between(value_of(box[0]), place.x1, place.x2), between(value_of(box[1]), place.y1, place.y2),
                 between(value_of(box[2]), place.x1, place.x2), between(value_of(box[3]), place.y1, place.y2)});
    }
}

KERNEL(begin, Outputs, kThreads) {
    for (int i = thread_index(); i < args.images; i += thread_count()) args.counts[i] = {0, 0, 0, 0};
    for (int i = thread_index(); i < args.images * kWords; i += thread_count()) args.dropped[i] = 0;
    if (thread_index() == 0) *args.odd = 0;
}

#define CANDIDATES(head, name, Value)                                                              \
    KERNEL(candidates_##head##_##name, Outputs, kRowThreads) {                                     \
        const int first = block_x() * kRowThreads;                                                 \
        for (int i = thread_index(); i < kRowThreads; i += thread_count())                         \
            if (first + i < args.rows) candidates_of_##head<Value>(args, block_z(), first + i);    \
    }
CANDIDATES(yolov5, float32, float)
CANDIDATES(yolov5, float16, unsigned short)
CANDIDATES(yolov8, float32, float)
CANDIDATES(yolov8, float16, unsigned short)
CANDIDATES(retinanet, float32, float)
CANDIDATES(retinanet, float16, unsigned short)

DEVICE int smaller(int a, int b) { return a < b ? a : b; }
DEVICE int candidates_in(const Outputs& args, int image) { return smaller(args.counts[image].candidates, args.capacity); }

// Whether a candidate of a level is among its best, and its class and box are those that may be found. Those of YOLO are.
DEVICE bool is_sorted(const Outputs& args, long long at) {
    if (!args.has_levels) return true;
    const Candidate& candidate = args.candidates[at];
    return args.level_ranks[at] < args.max_candidates && args.wanted[candidate.label] && is_finite(candidate.box);
}

// How many keys of the image are higher than each; `WITHIN_LEVELS` of those of its own level, else of those that are
// sorted. Pieces of 256 candidates by 1024 others go round the blocks.
template <bool WITHIN_LEVELS>
DEVICE void rank_keys(const Outputs& args) {
    constexpr int OTHERS = 1024;
    const int image = block_z(), count = candidates_in(args, image);
    const long long of_image = static_cast<long long>(image) * args.capacity;
    const int across = (count + OTHERS - 1) / OTHERS, pieces = (count + kThreads - 1) / kThreads * across;
    int* ranks = WITHIN_LEVELS ? args.level_ranks : args.ranks;
    for (int piece = block_x(); piece < pieces; piece += grid_x()) {
        const int first = piece / across * kThreads, begin = piece % across * OTHERS, end = smaller(begin + OTHERS, count);
        for (int i = first + thread_index(); i < smaller(first + kThreads, count); i += thread_count()) {
            const Bits key = args.keys[of_image + i];
            const int level = args.candidates[of_image + i].level;
            int higher = 0;
            for (int j = begin; j < end; ++j) {
                if (args.keys[of_image + j] <= key) continue;
                if (WITHIN_LEVELS ? args.candidates[of_image + j].level == level : is_sorted(args, of_image + j)) ++higher;
            }
            if (higher) add_to(&ranks[of_image + i], higher);
        }
    }
}

KERNEL(rank_in_levels, Outputs, kThreads) { rank_keys<true>(args); }
KERNEL(rank, Outputs, kThreads) { rank_keys<false>(args); }

KERNEL(sort, Outputs, kThreads) {
    const int image = block_z(), count = candidates_in(args, image);
    for (int first = block_x() * kThreads; first < count; first += grid_x() * kThreads)
        for (int i = first + thread_index(); i < smaller(first + kThreads, count); i += thread_count()) {
            const long long at = static_cast<long long>(image) * args.capacity + i;
            if (!is_sorted(args, at) || args.ranks[at] >= args.sorted_capacity) continue;
            const Candidate& candidate = args.candidates[at];
            args.sorted[static_cast<long long>(image) * args.sorted_capacity + args.ranks[at]] = {
                candidate.box, score_of(args.keys[at]), candidate.label};
            count_up(&args.counts[image].sorted);
        }
}

// Whether two boxes' intersection over union is above the threshold: box_iou of vision/boxes.py, step by step.
DEVICE bool overlap(const Outputs& args, const Detection& a, const Detection& b) {
    if (a.label != b.label && !args.is_agnostic) return false;
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
    SHARED int hits[kBits];
    const int image = block_z(), begin = args.round * kTile, count = smaller(kTile, args.counts[image].sorted - begin);
    if (count <= 0 || args.counts[image].is_done) return;
    const Detection* sorted = args.sorted + static_cast<long long>(image) * args.sorted_capacity;
    const int* kept = args.kept + static_cast<long long>(image) * args.max_detections;
    for (int word = block_x(); word < (count + kBits - 1) / kBits; word += grid_x()) {
        for (int i = thread_index(); i < kBits; i += thread_count()) {
            hits[i] = 0;
            for (int k = 0; word * kBits + i < count && k < args.counts[image].kept && !hits[i]; ++k)
                hits[i] = overlap(args, sorted[kept[k]], sorted[begin + word * kBits + i]);
        }
        sync_block();
        if (thread_index() == 0) {
            Bits bits = 0;
            for (int i = 0; i < kBits; ++i) bits |= static_cast<Bits>(hits[i]) << i;
            args.dropped[static_cast<long long>(image) * kWords + word] = bits;
        }
        sync_block();
    }
}

// For each candidate of a tile a word for each 64 others behind it: those that it overlaps.
KERNEL(overlaps, Outputs, kBits) {
    SHARED Detection others[kBits];
    const int image = block_z(), begin = args.round * kTile, count = smaller(kTile, args.counts[image].sorted - begin);
    if (count <= 0 || args.counts[image].is_done) return;
    const Detection* tile = args.sorted + static_cast<long long>(image) * args.sorted_capacity + begin;
    Bits* masks = args.masks + static_cast<long long>(image) * kTile * kWords;
    const int words = (count + kBits - 1) / kBits;
    for (int piece = block_x(); piece < words * words; piece += grid_x()) {
        const int row = piece / words, column = piece % words;
        if (column < row) continue;
        const int first = column * kBits, behind = smaller(kBits, count - first);
        sync_block();  // the piece before is done with the others
        for (int i = thread_index(); i < behind; i += thread_count()) others[i] = tile[first + i];
        sync_block();
        for (int i = row * kBits + thread_index(); i < smaller(row * kBits + kBits, count); i += thread_count()) {
            const Detection own = tile[i];
            Bits bits = 0;
            for (int j = row == column ? i - first + 1 : 0; j < behind; ++j)
                if (overlap(args, own, others[j])) bits |= 1ull << j;
            masks[static_cast<long long>(i) * kWords + column] = bits;
        }
    }
}

DEVICE double within(double v, double most) {
    v = v < 0 ? 0 : v;
    return v > most ? most : v;
}

// Placement.to_source, of vision: in double, and cut to the image.
DEVICE Box to_source(const Box& box, const Place& place) {
    return {static_cast<float>(within((box.x1 - place.offset_x) / place.scale_x, place.width)),
            static_cast<float>(within((box.y1 - place.offset_y) / place.scale_y, place.height)),
            static_cast<float>(within((box.x2 - place.offset_x) / place.scale_x, place.width)),
            static_cast<float>(within((box.y2 - place.offset_y) / place.scale_y, place.height))};
}

// Goes through a tile 64 candidates at a time: one thread keeps those that are left, all drop those that they overlap.
KERNEL(suppress, Outputs, kSuppressThreads) {
    SHARED Bits dropped[kWords], own[kBits], newly;
    SHARED int total;
    const int image = block_z(), begin = args.round * kTile, count = smaller(kTile, args.counts[image].sorted - begin);
    Counts& counts = args.counts[image];
    if (counts.is_done) return;
    const long long of_image = static_cast<long long>(image) * args.max_detections;
    const Detection* sorted = args.sorted + static_cast<long long>(image) * args.sorted_capacity;
    const Bits* masks = args.masks + static_cast<long long>(image) * kTile * kWords;
    const int words = count > 0 ? (count + kBits - 1) / kBits : 0, already = counts.kept;
    for (int i = thread_index(); i < words; i += thread_count())
        dropped[i] = args.dropped[static_cast<long long>(image) * kWords + i];
    if (thread_index() == 0) total = already;
    sync_block();
    for (int word = 0; word < words && total < args.max_detections; ++word) {
        const int behind = smaller(kBits, count - word * kBits);
        const Bits all = behind == kBits ? ~0ull : (1ull << behind) - 1;
        if ((dropped[word] & all) == all) continue;
        for (int i = thread_index(); i < behind; i += thread_count())
            own[i] = masks[static_cast<long long>(word * kBits + i) * kWords + word];
        sync_block();
        if (thread_index() == 0) {
            Bits left = all & ~dropped[word], keeps = 0;
            int most = args.max_detections - total;
            while (left && most > 0) {
                const int i = lowest_bit(left);
                keeps |= 1ull << i;
                args.kept[of_image + total++] = begin + word * kBits + i;
                left &= ~(1ull << i) & ~own[i];
                --most;
            }
            newly = keeps;
        }
        sync_block();
        for (int other = word + 1 + thread_index(); other < words; other += thread_count()) {
            Bits bits = dropped[other];
            for (Bits keeps = newly; keeps; keeps &= keeps - 1)
                bits |= masks[static_cast<long long>(word * kBits + lowest_bit(keeps)) * kWords + other];
            dropped[other] = bits;
        }
        sync_block();
    }
    for (int i = already + thread_index(); i < total; i += thread_count()) {
        const Detection& detection = sorted[args.kept[of_image + i]];
        args.results[of_image + i] = {to_source(detection.box, args.places[image]), detection.score, detection.label};
    }
    sync_block();
    if (thread_index() == 0) {
        counts.kept = total;
        counts.is_done = total >= args.max_detections || begin + kTile >= counts.sorted;
    }
}
