// SQLite: constants and functions that Swift cannot import.
#ifndef TERCET_CSQLITE_SHIM_H
#define TERCET_CSQLITE_SHIM_H

#include <sqlite3.h>

/// Binds a text that SQLite copies.
static inline int tercet_sqlite_bind_text(sqlite3_stmt *statement, int place, const char *text, int byte_count) {
    return sqlite3_bind_text(statement, place, text, byte_count, SQLITE_TRANSIENT);
}

/// Says whether the last connection to a database in WAL mode leaves the log as it is when it closes.
static inline int tercet_sqlite_keep_log_on_close(sqlite3 *database, int keeps) {
    return sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keeps, (int *)0);
}

/// Takes SQL in a damaged or hostile schema for what it may be: no schema changes by writing to it, no unsafe functions.
static inline int tercet_sqlite_be_careful(sqlite3 *database) {
    int result = sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
    return result == SQLITE_OK ? sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)0) : result;
}

#endif
