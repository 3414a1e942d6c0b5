/* What libhdf5 takes on trust when it reads a chunk: that the filters give as many bytes as the
 * chunk has. Fewer, and it reads beyond its buffer; more, and it fills the memory. */
#include "io/hdf5_checks.h"

#include <zlib.h>

#include "base/alloc.h"

#define MAX_CHUNKS      ((size_t)1 << 22)
#define MAX_LOOKUPS     ((hsize_t)4096) /* each takes time in proportion to the chunks */
#define FLETCHER32_SIZE 4

struct chunks {
    hid_t set;
    size_t file_size;
    int rank;
    hsize_t shape[HT_HDF5_MAX_RANK], chunk[HT_HDF5_MAX_RANK];
    size_t bytes; /* of a chunk, unpacked */
    int n_filters;
    /* bits of these filters in a chunk's mask of filters that were skipped; 0: not in use */
    uint32_t deflate, fletcher32;
};

/* Does the zlib stream hold exactly `expected` bytes? */
static bool inflates_to(const uint8_t *data, size_t size, size_t expected)
{
    uint8_t scratch[16384];
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)data, .avail_in = (uInt)size};
    int result = Z_OK;
    size_t total = 0;
    if (inflateInit(&z) != Z_OK)
        return false;
    while (result == Z_OK && total <= expected) {
        z.next_out = scratch;
        z.avail_out = sizeof scratch;
        result = inflate(&z, Z_NO_FLUSH);
        total += sizeof scratch - z.avail_out;
    }
    inflateEnd(&z);
    return result == Z_STREAM_END && total == expected;
}

/* The filters are in the order shuffle, deflate, fletcher32 (hdf5_checks.c): the stored bytes are a
 * zlib stream or the chunk itself, then the checksum. */
static bool chunk_is_sound(const struct chunks *c, const hsize_t *at)
{
    hsize_t stored = 0;
    uint32_t skipped = 0;
    /* An error stands for a chunk that was never written, too: H5Dread will know. */
    if (H5Dget_chunk_storage_size(c->set, at, &stored) < 0 || stored == 0)
        return true;
    if (stored > c->file_size || stored > UINT32_MAX)
        return false;
    uint8_t *data = ht_calloc((size_t)stored, 1);
    bool sound = data && H5Dread_chunk(c->set, H5P_DEFAULT, at, &skipped, data) >= 0;
    if (sound) {
        const size_t checksum = c->fletcher32 & ~skipped ? FLETCHER32_SIZE : 0;
        const bool packed = c->deflate & ~skipped;
        sound = packed ? stored > checksum && inflates_to(data, (size_t)stored - checksum, c->bytes)
                       : stored == c->bytes + checksum;
    }
    ht_free(data);
    return sound;
}

/* Steps `at` to the next chunk in row order; false after the last. */
static bool next_chunk(const struct chunks *c, hsize_t *at)
{
    for (int i = c->rank - 1; i >= 0; i--) {
        at[i] += c->chunk[i];
        if (at[i] < c->shape[i])
            return true;
        at[i] = 0;
    }
    return false;
}

/* Without filters the functions above go by the size that a chunk should have; the size that the
 * file's index gives, which H5Dread goes by, comes from others. */
static bool plain_chunks_are_sound(const struct chunks *c)
{
    hsize_t at[HT_HDF5_MAX_RANK], n = 0, stored = 0;
    unsigned skipped;
    haddr_t address;
    hid_t space = H5Dget_space(c->set);
    bool sound = H5Dget_num_chunks(c->set, space, &n) >= 0 && n <= MAX_CHUNKS &&
                 H5Dget_storage_size(c->set) == n * c->bytes;
    for (hsize_t i = 0; sound && i < n && n <= MAX_LOOKUPS; i++)
        sound = H5Dget_chunk_info(c->set, space, i, at, &skipped, &address, &stored) >= 0 &&
                stored == c->bytes;
    H5Sclose(space);
    return sound;
}

static bool describe(struct chunks *c, hid_t list)
{
    size_t n = 1;
    hid_t space = H5Dget_space(c->set), type = H5Dget_type(c->set);
    c->rank = H5Sget_simple_extent_ndims(space);
    c->bytes = H5Tget_size(type);
    bool known = c->rank >= 1 && c->rank <= HT_HDF5_MAX_RANK &&
                 H5Sget_simple_extent_dims(space, c->shape, NULL) == c->rank &&
                 H5Pget_chunk(list, HT_HDF5_MAX_RANK, c->chunk) == c->rank;
    for (int i = 0; known && i < c->rank; i++) {
        known = c->chunk[i] > 0 && ht_mul_size(c->bytes, (size_t)c->chunk[i], &c->bytes) &&
                ht_mul_size(n, (size_t)((c->shape[i] - 1) / c->chunk[i] + 1), &n) &&
                n <= MAX_CHUNKS;
    }
    c->n_filters = H5Pget_nfilters(list);
    for (int i = 0; i < c->n_filters; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        H5Z_filter_t id =
            H5Pget_filter2(list, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
        c->deflate |= id == H5Z_FILTER_DEFLATE ? 1u << i : 0;
        c->fletcher32 |= id == H5Z_FILTER_FLETCHER32 ? 1u << i : 0;
    }
    H5Tclose(type);
    H5Sclose(space);
    return known;
}

bool ht_hdf5_chunks_are_sound(hid_t set, size_t file_size)
{
    struct chunks c = {.set = set, .file_size = file_size};
    hsize_t at[HT_HDF5_MAX_RANK] = {0};
    hid_t list = H5Dget_create_plist(set);
    bool sound = list >= 0;
    if (sound && H5Pget_layout(list) == H5D_CHUNKED) {
        sound = describe(&c, list);
        if (sound && c.n_filters == 0)
            sound = plain_chunks_are_sound(&c);
        while (sound && c.n_filters > 0) {
            sound = chunk_is_sound(&c, at);
            if (!next_chunk(&c, at))
                break;
        }
    }
    H5Pclose(list);
    return sound;
}
