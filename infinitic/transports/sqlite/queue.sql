-- version 1
-- A message until it is acknowledged. owner is the consumer that has it (0: any may take it).
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: it is the receipt
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    owner INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,     -- of processes that did this work and nothing else
    suspect INTEGER NOT NULL DEFAULT 0     -- whether a process died while this work was under way
);
CREATE INDEX messages_free ON messages (topic) WHERE owner = 0;
CREATE INDEX messages_owned ON messages (owner) WHERE owner <> 0;
CREATE INDEX messages_of_key ON messages (topic, key) WHERE topic >= 'workflow:';

-- Which consumer gets the messages of an instance. With owner 0 it only keeps the count.
CREATE TABLE leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    owner INTEGER NOT NULL,
    deaths INTEGER NOT NULL DEFAULT 0,     -- of processes while they applied something to the instance
    UNIQUE (topic, key)
);
CREATE INDEX leases_owned ON leases (owner) WHERE owner <> 0;

-- The open consumers. Each holds the lock on a file named after its id for as long as it lives.
CREATE TABLE owners (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL
);

CREATE TABLE subscriptions (
    topic TEXT NOT NULL,
    owner INTEGER NOT NULL,
    PRIMARY KEY (topic, owner)
) WITHOUT ROWID;

-- What could not be read as a message, and why.
CREATE TABLE dead (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
);
