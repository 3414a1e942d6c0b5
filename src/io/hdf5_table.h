/* A numeric dataset out of a user's own HDF5 file (h5py, MATLAB v7.3...), for the dataset readers.
 */
#ifndef HT_IO_HDF5_TABLE_H
#define HT_IO_HDF5_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct ht_hdf5_table {
    size_t rows, cols; /* first dimension x product of the others */
    uint8_t *u8;       /* [rows, cols] when the file holds unsigned bytes, else NULL; owned */
    float *f32;        /* [rows, cols] for every other integer or float type, else NULL; owned */
};

/* dataset NULL or "": the file's only numeric dataset. At most max_bytes in memory. The same
 * refusals as container.h (external storage, virtual layout, ...). HT_ERR_DATA names the file and
 * the dataset. */
enum ht_status ht_hdf5_table_read(struct ht_hdf5_table *ret, const char *path, const char *dataset,
                                  size_t max_bytes, struct ht_error *err);
void ht_hdf5_table_finish(struct ht_hdf5_table *t);

#endif
