//! **What**: calls that take a secret without a key: their names, which argument it is, and what that must look like. **Why**:
//! `jwt.sign(x, "…")` and `login("user", "…")` have no word for what stands there. **Invariants**: names are in small letters, from the
//! beginning of a word; the more a name is also used for something else, the more its argument must look like a secret. **Not here**:
//! how arguments are read (`calls`).

/// What an argument must look like to be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fits {
    /// A password, whatever it looks like.
    Password,
    /// A password that no word alone is.
    Mixed,
    /// As [`Fits::Mixed`], and all arguments before it are strings.
    Third,
    /// What signs or encrypts: no name of an algorithm, no word for a secret.
    Secret,
    /// A key: random.
    Key,
    /// A key that may be a UUID.
    Uuid,
}

/// Which argument of a call is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Taken {
    /// How many arguments stand before it.
    pub(super) argument: usize,
    pub(super) fits: Fits,
}

impl Taken {
    /// The password behind a user.
    pub(super) const SECOND: Self = taken(1, Fits::Password);
}

const fn taken(argument: usize, fits: Fits) -> Taken {
    Taken { argument, fits }
}

/// Calls by what they take.
const CALLS: &[(Taken, &str)] = &[
    (taken(0, Fits::Password), "convertto-securestring"),
    (
        taken(1, Fits::Password),
        "networkcredential passwordauthentication usernamepasswordcredentials usernamepasswordauthenticationtoken httpbasicauth \
         httpdigestauth httpproxyauth setbasicauth basicawscredentials newstaticcredentials newstaticcredentialsprovider \
         sqlcredential userpasswordcredential pscredential storagesharedkeycredential",
    ),
    (
        taken(2, Fits::Password),
        "directoryentry opendsobject clientsecretcredential getconnection mysqli mysql_connect mysql_pconnect mysqli_connect \
         pdo dbi->connect dbi.connect pymysql.connect mysqldb.connect",
    ),
    (taken(3, Fits::Password), "usernamepasswordcredential"),
    (
        taken(0, Fits::Mixed),
        "scryptsync bcrypt.hash bcrypt.hashsync bcrypt.hashpw bcrypt.compare bcrypt.comparesync argon2.hash red:auth jedis.auth \
         redis.auth rdb.auth crypt password",
    ),
    (
        taken(1, Fits::Mixed),
        "login userpassword usernamepasswordtoken passwordcredentials simplecredentials plaincredentials basicauth basic_auth \
         auth.basic authtokens.basic credentials.basic credentials::new basic_authorize digest_auth httpntlmauth ntlmauth \
         requests_ntlm add_credentials set_credentials setcredentials cx_oracle.connect oci_connect oci_pconnect simple_bind_s \
         simple_bind authenticate signinwithemailandpassword createuserwithemailandpassword",
    ),
    (
        taken(2, Fits::Mixed),
        "sequelize pymssql.connect mysql.connect mssql_connect odbc_connect drivermanagerdatasource ftp_login ftphost imap_open \
         ssh2_auth_password smtp.plainauth keyring.set_password create_user create_superuser add_auth ldap_bind \
         signinwithemailandpassword createuserwithemailandpassword",
    ),
    (taken(1, Fits::Third), "auth"),
    (taken(2, Fits::Third), "connect ftp ftp_tls ftp.open ftp.new mysql.new"),
    (taken(3, Fits::Mixed), "add_password mysqli_real_connect"),
    (
        taken(0, Fits::Secret),
        "hmac256 hmac384 hmac512 hmacshakeyfor signedstring new_from_slice hmacsha256 hmacsha1 hmacsha512 secretkeyspec \
         pbekeyspec deskeyspec desedekeyspec aes.new des.new des3.new arc4.new blowfish.new newcookiestore securecookie.new \
         cookie.newstore cookieparser csrf.protect urlsafetimedserializer urlsafeserializer timestampsigner \
         timedjsonwebsignatureserializer jsonwebsignatureserializer encryptors.text encryptors.standard pbkdf2 pbkdf2sync",
    ),
    (
        taken(1, Fits::Secret),
        "jwt.encode jwt.decode jwt.sign jwt.verify jwt::encode jwt::decode jsonwebtoken.sign jsonwebtoken.verify signwith \
         createhmac createcipheriv createdecipheriv createcipher createdecipher aes.encrypt aes.decrypt des.encrypt des.decrypt \
         tripledes.encrypt tripledes.decrypt rabbit.encrypt rabbit.decrypt rc4.encrypt rc4.decrypt pbkdf2_hmac hash_pbkdf2 \
         newfilesystemstore mcrypt_encrypt pgp_sym_encrypt pgp_sym_decrypt aes_encrypt aes_decrypt",
    ),
    (taken(2, Fits::Secret), "openssl_encrypt openssl_decrypt hash_hmac"),
    (taken(0, Fits::Key), "fernet"),
    (
        taken(1, Fits::Key),
        "client client.new twilio twilio.init twilioclient.init twiliorestclient algoliasearch newstaticv4 s3connection \
         connect_s3 oauthhandler oauth1 set_access_token credentials",
    ),
    (taken(2, Fits::Key), "minio"),
    (taken(0, Fits::Uuid), "exa asyncexa"),
];

/// Calls whose case tells which language they are of.
const EXACT: &[(Taken, &str)] = &[
    (taken(0, Fits::Secret), "hmac.new HMAC.new hmac.digest"),
    (taken(1, Fits::Secret), "hmac.New HMAC.hexdigest HMAC.digest HMAC.base64digest"),
];

/// Names of calls, whether their case counts, and what they take.
pub(super) fn all() -> impl Iterator<Item = (&'static str, bool, Taken)> {
    let each = |calls: &'static [(Taken, &'static str)], exact: bool| {
        calls
            .iter()
            .flat_map(move |(taken, names)| names.split_ascii_whitespace().map(move |name| (name, exact, *taken)))
    };
    each(CALLS, false).chain(each(EXACT, true))
}

/// Calls whose argument `"…".toCharArray()` is a password, by the ends of their names.
pub(super) const CHARACTERS: [&[u8]; 14] = [
    b"load",
    b"init",
    b"getkey",
    b"setkeyentry",
    b"keyspec",
    b"protection",
    b"authentication",
    b"credentials",
    b"store",
    b"getinstance",
    b"material",
    b"password",
    b"passwd",
    b"unlock",
];
