//! Common words of routes and parameters, from the APIs of model vendors, clouds and ordinary web services. None of
//! them identifies a person, so they do not count towards the unknown words that an address may have.

pub(super) const COMMON_ROUTE_WORDS: &str = "\
    access account accounts acl action actions activate active admin administration after agent agents ai all alpha \
    alt analytics answers api apis app apps archive array artifacts asc assets assistant assistants async at auth \
    authentication authorization authorize aws az azure background backup balance base based batch \
    batchembedcontents batches before beta bigquery billing blob blobs body branch branches browse bucket buckets \
    build builds bulk by cache calendar call calls cancel cart catalog categories central change changes channel \
    channels chat check checkout chunk chunks claude client clients cluster clusters code collection collections com \
    command commands comments commit commits common compare complete completion completions config configs \
    configuration connect container containers content contents context control conversation conversations converse \
    cookie copy core cost costs count counttokens create created credentials css csv currency current cursor \
    customer customers daily dashboard data database databases dataset datasets date day days db de debug default \
    delete deployment deployments desc description detail details dev device devices direct directory disable \
    discover discovery docs document documents domain download downloads draft east edit embed embedcontent \
    embedding embeddings en enable encoding encryption end endpoint endpoints engine entities entity env error \
    errors es eu eur evaluate event events exact execute expand expires export external failed feature features feed \
    feedback fetch field fields file filename files filter filters find fine flash flow flows folder folders for \
    form format forward fr from full function functions gateway gb gemini generate generatecontent generations get \
    global go google gpt grant grants graph graphql group groups guide haiku health healthz help hits home hook \
    hooks host hour hours html http https icon icons id ids image images import in inbox include incoming index \
    indexes info init input instance instances integrations intro invoice invoices invoke issue issues it item items \
    ja job jobs js json key keys kind knowledge lang language languages last latest layout level library lifecycle \
    like limit line lines link links list live livez llama llm llms load local locale location locations log login \
    logout logs lookup main manage manifest map match max mcp me media member members memories memory menu message \
    messages meta metadata metric metrics min mini minute mistral mode model models moderation moderations module \
    modules monitoring month move name namespace namespaces nano native net network new next node nodes north notes \
    notifications o oauth object objects of off offset oidc ok on online open operations options opus or order \
    orders org organization organizations output outputs overview owner owners package packages page pages parent \
    part parts password path payment payments per period permissions ping pipeline pipelines plan plans platform \
    plugin plugins pod pods point points policies policy poll pool port post posts predict prediction predictions \
    preview price prices private pro product products profile profiles project projects prompt prompts protocol \
    provider providers proxy public publish publisher publishers pull push put py queries query question questions \
    queue queues quota range rate raw react read ready readyz realtime rebuild recent recommendations record records \
    redirect refresh region regions register registry release releases reload remove render repo report reports \
    repos repositories repository request requests rerank research reset resource resources response responses rest \
    restore result results retrieve retry revision role roles root route routes rpc rule rules run runs save scan \
    schedule schema schemas scope score scores script scripts search second secret secrets section security send \
    serve server servers service services session sessions set settings setup share shared shell shop show sign \
    signin signup since site size skip snapshot snapshots so sonnet sort source sources south space spaces span \
    spans speech sql src sse stable stage staging start state static stats status step steps stop storage store \
    stores stream streamgeneratecontent streams string style styles submit subscribe subscription subscriptions \
    success summary support svc sync system systems tab table tables tag tagging tags task tasks team teams template \
    templates temporary tenant tenants test tests text thread threads time timeline timestamp title to token tokens \
    tool tools top topic topics total trace traces tracking transaction transactions transcriptions transform \
    translate tree trigger tune tuning turbo type types until update updated upload uploads uri url urls us usage \
    usd user userinfo users utils validate value values vector vectors vendor verify version versioning versions \
    vertex video videos view views voice volumes wait watch web webhook webhooks week west widget wiki with worker \
    workers workflow workflows workspace workspaces write www xml year zh";
