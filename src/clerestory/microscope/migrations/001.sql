-- Themes. Rows are never changed or deleted: a new opinion is a new row.
CREATE TABLE themes (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    unit TEXT NOT NULL,
    text TEXT NOT NULL,
    confidence INTEGER NOT NULL CHECK (confidence BETWEEN 1 AND 5),
    note TEXT NOT NULL,
    rater TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX themes_of_unit ON themes (unit);

-- Questions of blind tests. `control` is the seed of a random direction, NULL for the unit itself.
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    test TEXT NOT NULL,
    theme INTEGER NOT NULL REFERENCES themes (id),
    rater TEXT NOT NULL,
    control INTEGER,
    first TEXT NOT NULL,
    second TEXT NOT NULL,
    answer INTEGER NOT NULL CHECK (answer IN (0, 1)),
    picked INTEGER CHECK (picked IN (0, 1)),
    created_at TEXT NOT NULL,
    picked_at TEXT
) STRICT;
CREATE INDEX trials_of_theme ON trials (theme);
CREATE INDEX trials_of_test ON trials (test);
