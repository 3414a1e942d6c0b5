#include "io/container_types.h"

size_t ht_container_type_size(enum ht_container_type type)
{
    static const size_t sizes[HT_CONTAINER_TYPES] = {
        [HT_U8] = 1, [HT_I8] = 1, [HT_I32] = 4, [HT_I64] = 8, [HT_F32] = 4, [HT_F64] = 8};
    return sizes[type];
}

const char *ht_container_type_name(enum ht_container_type type)
{
    static const char *const names[HT_CONTAINER_TYPES] = {
        [HT_U8] = "uint8",  [HT_I8] = "int8",     [HT_I32] = "int32",
        [HT_I64] = "int64", [HT_F32] = "float32", [HT_F64] = "float64"};
    return names[type];
}

/* libhdf5's names for types are calls, so these tables are made at each use. */
hid_t ht_container_file_type(enum ht_container_type type)
{
    const hid_t types[HT_CONTAINER_TYPES] = {
        [HT_U8] = H5T_STD_U8LE,   [HT_I8] = H5T_STD_I8LE,    [HT_I32] = H5T_STD_I32LE,
        [HT_I64] = H5T_STD_I64LE, [HT_F32] = H5T_IEEE_F32LE, [HT_F64] = H5T_IEEE_F64LE};
    return types[type];
}

hid_t ht_container_memory_type(enum ht_container_type type)
{
    const hid_t types[HT_CONTAINER_TYPES] = {
        [HT_U8] = H5T_NATIVE_UINT8,  [HT_I8] = H5T_NATIVE_INT8,   [HT_I32] = H5T_NATIVE_INT32,
        [HT_I64] = H5T_NATIVE_INT64, [HT_F32] = H5T_NATIVE_FLOAT, [HT_F64] = H5T_NATIVE_DOUBLE};
    return types[type];
}
