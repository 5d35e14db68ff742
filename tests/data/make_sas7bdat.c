/* The table of tests/records/test_sources_labelled.py as a file of SAS, written by ReadStat (the C library whose sources come
 * with pyreadstat): cc -I src -I src/sas make_sas7bdat.c src/readstat_*.c src/CKHashTable.c src/sas/*.c -lm -lz; then
 *     make_sas7bdat < formats.txt > formats.sas7bdat
 * formats.txt holds the rows without labels, fields between tabs, days since 1960, an empty field for a missing value. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "readstat.h"

static ssize_t put(const void *data, size_t length, void *context) { return fwrite(data, 1, length, (FILE *)context); }

int main(void) {
    const char *names[] = {"ID", "SCHULE", "JAHR", "X", "Y", "BAND", "FORM", "BORN"};
    static char lines[300][600];
    readstat_variable_t *columns[8];
    int rows = 0;
    while (rows < 300 && fgets(lines[rows], sizeof lines[0], stdin)) rows++;
    readstat_writer_t *writer = readstat_writer_init();
    readstat_set_data_writer(writer, put);
    readstat_writer_set_file_format_is_64bit(writer, 1);
    for (int k = 0; k < 8; k++)
        columns[k] = readstat_add_variable(writer, names[k], k < 2 ? READSTAT_TYPE_STRING : READSTAT_TYPE_DOUBLE, k == 0 ? 8 : k == 1 ? 240 : 8);
    readstat_variable_set_format(columns[7], "DATE9");
    readstat_begin_writing_sas7bdat(writer, stdout, rows);
    for (int row = 0; row < rows; row++) {
        char *rest = lines[row];
        readstat_begin_row(writer);
        for (int k = 0; k < 8; k++) {
            char *field = strsep(&rest, "\t\n");
            if (k < 2) readstat_insert_string_value(writer, columns[k], field);
            else if (!*field) readstat_insert_missing_value(writer, columns[k]);
            else readstat_insert_double_value(writer, columns[k], strtod(field, NULL));
        }
        readstat_end_row(writer);
    }
    return readstat_end_writing(writer) != READSTAT_OK;
}
