#include "import/protobuf.h"

#include <string.h>

bool ht_pb_varint(struct ht_pb *p, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (p->at == p->end)
            return false;
        const uint8_t byte = *p->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = v;
            return true;
        }
    }
    return false;
}

static bool get_fixed(struct ht_pb *p, size_t n, uint64_t *value)
{
    if (ht_pb_size(p) < n)
        return false;
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)p->at[i] << 8 * i;
    p->at += n;
    return true;
}

static bool get_bytes(struct ht_pb *p, struct ht_pb *bytes)
{
    uint64_t n;
    if (!ht_pb_varint(p, &n) || n > ht_pb_size(p))
        return false;
    *bytes = (struct ht_pb){p->at, p->at + n};
    p->at += n;
    return true;
}

bool ht_pb_next(struct ht_pb *message, struct ht_pb_field *field, bool *damaged)
{
    uint64_t key;
    bool ok = false;
    if (message->at == message->end)
        return false;
    memset(field, 0, sizeof *field);
    if (ht_pb_varint(message, &key) && key >> 3 != 0 && key >> 3 <= UINT32_MAX) {
        field->number = (uint32_t)(key >> 3);
        field->wire = (int)(key & 7);
        if (field->wire == HT_PB_VARINT)
            ok = ht_pb_varint(message, &field->value);
        else if (field->wire == HT_PB_FIXED64)
            ok = get_fixed(message, 8, &field->value);
        else if (field->wire == HT_PB_FIXED32)
            ok = get_fixed(message, 4, &field->value);
        else if (field->wire == HT_PB_BYTES)
            ok = get_bytes(message, &field->bytes);
    }
    *damaged |= !ok;
    return ok;
}

bool ht_pb_numbers(const struct ht_pb_field *field, int64_t *list, size_t max, size_t *n)
{
    struct ht_pb rest = field->bytes;
    uint64_t value = field->value;
    if (field->wire != HT_PB_VARINT && field->wire != HT_PB_BYTES)
        return false;
    while (field->wire == HT_PB_VARINT || rest.at != rest.end) {
        if (field->wire == HT_PB_BYTES && !ht_pb_varint(&rest, &value))
            return false;
        if (*n < max)
            list[*n] = (int64_t)value;
        ++*n;
        if (field->wire == HT_PB_VARINT)
            break;
    }
    return true;
}

bool ht_pb_is(const struct ht_pb *text, const char *word)
{
    const size_t n = strlen(word);
    return ht_pb_size(text) == n && (n == 0 || memcmp(text->at, word, n) == 0);
}

bool ht_pb_same(const struct ht_pb *a, const struct ht_pb *b)
{
    const size_t n = ht_pb_size(a);
    return ht_pb_size(b) == n && (n == 0 || memcmp(a->at, b->at, n) == 0);
}
