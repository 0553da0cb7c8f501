//! Decides which part of a cache statement stays on an agent's item: the commands, without their arguments. An agent
//! caches user messages and its own answers, so the arguments are content. (A database query has separate keys for its
//! parameters.)
//!
//! The result has one line per command, up to a maximum, and applying the function again changes nothing.

use super::address::REMOVED_MARK;

/// Maximum number of commands kept from a pipeline.
const MAX_COMMANDS: usize = 64;

/// The part of a statement that stays. `None` if all of it stays.
pub(super) fn shorten_statement(text: &str) -> Option<String> {
    let mut lines: Vec<String> = text.lines().take(MAX_COMMANDS).map(shorten_command).collect();
    if text.lines().nth(MAX_COMMANDS).is_some() {
        lines.push(REMOVED_MARK.to_owned());
    }
    let out = lines.join("\n");
    (out != text.trim_end_matches('\n')).then_some(out)
}

/// `SET k v` → `SET […]`. Arguments that the client masked itself (`SET ? ?`, `[2 other arguments]`) stay.
fn shorten_command(text: &str) -> String {
    let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !is_command(command) {
        return REMOVED_MARK.to_owned();
    }
    let masked_rest = rest.strip_suffix(" other arguments]").and_then(|rest| rest.rsplit_once('['));
    let rest = match masked_rest {
        Some((before, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => rest,
    };
    match rest == REMOVED_MARK || rest.split_whitespace().all(|word| word == "?") {
        true => text.to_owned(),
        false => format!("{command} {REMOVED_MARK}"),
    }
}

/// Returns true if a statement whose system is not named looks like a cache command. Commands that are also SQL words
/// do not count.
pub(super) fn is_cache_statement(text: &str) -> bool {
    const SQL: [&str; 8] = ["SELECT", "DELETE", "REPLACE", "EXEC", "COPY", "MOVE", "LOAD", "SAVE"];
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let equals = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
    // `SET timezone TO …` and `SET x = …` are SQL.
    let is_sql_set =
        equals(first, "SET") && words.nth(1).is_some_and(|word| equals(word, "TO") || word.starts_with('='));
    !first.is_empty() && is_command(first) && !is_sql_set && !SQL.iter().any(|word| equals(first, word))
}

/// Returns true if a word is a known cache command.
fn is_command(word: &str) -> bool {
    word.is_empty() || COMMANDS.split_ascii_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}

/// Commands of Redis 8 and its modules, Valkey 8 and memcached.
const COMMANDS: &str = "\
    ACL ADD APPEND ASKING AUTH BGREWRITEAOF BGSAVE BITCOUNT BITFIELD BITFIELD_RO BITOP BITPOS BLMOVE BLMPOP BLPOP \
    BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN CAS CLIENT CLUSTER COMMAND CONFIG COPY DBSIZE DEBUG DECR DECRBY DEL \
    DELETE DISCARD DUMP ECHO EVAL EVALSHA EVALSHA_RO EVAL_RO EXEC EXISTS EXPIRE EXPIREAT EXPIRETIME FAILOVER FCALL \
    FCALL_RO FLUSHALL FLUSHDB FLUSH_ALL FUNCTION GAT GATS GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER \
    GEOSEARCH GEOSEARCHSTORE GET GETBIT GETDEL GETEX GETRANGE GETS GETSET HDEL HELLO HEXISTS HEXPIRE HEXPIREAT HGET \
    HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPTTL HRANDFIELD HSCAN HSET \
    HSETEX HSETNX HSTRLEN HTTL HVALS INCR INCRBY INCRBYFLOAT INFO KEYS LASTSAVE LATENCY LCS LINDEX LINSERT LLEN \
    LMOVE LMPOP LOLWUT LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM MA MD MEMORY MG MGET MIGRATE MN MODULE MONITOR \
    MOVE MS MSET MSETNX MULTI OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT PFMERGE PING PIPELINE \
    PREPEND PSETEX PSUBSCRIBE PSYNC PTTL PUBLISH PUBSUB PUNSUBSCRIBE QUIT RANDOMKEY READONLY READWRITE RENAME \
    RENAMENX REPLACE REPLICAOF RESET RESTORE ROLE RPOP RPOPLPUSH RPUSH RPUSHX SADD SAVE SCAN SCARD SCRIPT SDIFF \
    SDIFFSTORE SELECT SET SETBIT SETEX SETNX SETRANGE SHUTDOWN SINTER SINTERCARD SINTERSTORE SISMEMBER SLAVEOF \
    SLOWLOG SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN SSUBSCRIBE STATS STRLEN \
    SUBSCRIBE SUBSTR SUNION SUNIONSTORE SUNSUBSCRIBE SWAPDB SYNC TIME TOUCH TTL TYPE UNLINK UNSUBSCRIBE UNWATCH VADD \
    VCARD VDIM VEMB VERBOSITY VERSION VGETATTR VINFO VLINKS VRANDMEMBER VREM VSETATTR VSIM WAIT WAITAOF WATCH XACK \
    XADD XAUTOCLAIM XCLAIM XDEL XGROUP XINFO XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM ZADD ZCARD \
    ZCOUNT ZDIFF ZDIFFSTORE ZINCRBY ZINTER ZINTERCARD ZINTERSTORE ZLEXCOUNT ZMPOP ZMSCORE ZPOPMAX ZPOPMIN \
    ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK \
    ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNION ZUNIONSTORE \
    BF.ADD BF.EXISTS BF.INFO BF.INSERT BF.MADD BF.MEXISTS BF.RESERVE CF.ADD CF.DEL CF.EXISTS CF.INSERT CF.RESERVE \
    CMS.INCRBY CMS.QUERY FT.AGGREGATE FT.ALTER FT.CREATE FT.CURSOR FT.DROPINDEX FT.EXPLAIN FT.HYBRID FT.INFO \
    FT.PROFILE FT.SEARCH FT.SUGADD FT.SUGDEL FT.SUGGET FT.TAGVALS FT._LIST GRAPH.DELETE GRAPH.QUERY GRAPH.RO_QUERY \
    JSON.ARRAPPEND JSON.ARRINDEX JSON.ARRINSERT JSON.ARRLEN JSON.ARRPOP JSON.ARRTRIM JSON.CLEAR JSON.DEL JSON.GET \
    JSON.MERGE JSON.MGET JSON.MSET JSON.NUMINCRBY JSON.OBJKEYS JSON.OBJLEN JSON.SET JSON.STRAPPEND JSON.STRLEN \
    JSON.TOGGLE JSON.TYPE TDIGEST.ADD TDIGEST.CREATE TDIGEST.QUANTILE TOPK.ADD TOPK.LIST TOPK.QUERY TS.ADD TS.CREATE \
    TS.GET TS.INCRBY TS.MADD TS.MGET TS.MRANGE TS.RANGE";

#[cfg(test)]
mod tests;
