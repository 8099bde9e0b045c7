// Purpose: the HTML of every page of the shop.
import { goods, goodById, firstViews, coupons, couponsOf, rankNames, totals, yen } from './goods.js'

const picture = good => `<div class="pic ${good.shape}" style="--tint:${good.tint}"></div>`
const card = good => `<a class="card" href="/item?id=${good.id}">${picture(good)}<p class="name">${good.name}</p><p class="price">${yen(good.price)}</p></a>`
const section = (id, title, sub, body) => `<section id="${id}"><h2>${title}<small>${sub}</small></h2>${body}</section>`

const loginForm = `<div class="login-form"><p>会員番号とパスワードを入力してください。</p>
<input class="member-number" aria-label="会員番号" placeholder="会員番号"><input class="password" type="password" aria-label="パスワード" placeholder="パスワード">
<button class="button login-submit" type="button">ログイン</button></div>`

const header = ({ member, cart }) => `<p class="notice">5,500円以上のお買い上げで送料無料</p>
<header><a class="logo" href="/">SUMIHA<i>澄葉</i></a>
<nav><a id="nav-list" href="/list">商品一覧</a><a id="nav-trial" href="/item?id=P12">はじめての方へ</a></nav>
<input id="search" aria-label="商品を検索" placeholder="商品を検索">
<div class="icons">${member ? '' : '<a id="nav-login">ログイン</a>'}<a id="nav-mypage" href="/mypage">マイページ</a><a id="nav-cart" href="/cart">カート${cart.length ? `<b>${cart.length}</b>` : ''}</a></div>
<div id="login">${loginForm}</div></header>`

const footer = `<footer><p class="logo">SUMIHA<i>澄葉</i></p><p>素肌がすこやかであるために。<br>澄葉は、国産の植物と水にこだわったスキンケアブランドです。</p>
<p class="links"><a>ご利用ガイド</a><a>よくあるご質問</a><a>特定商取引法に基づく表記</a><a>プライバシーポリシー</a></p><p class="copy">この店舗と商品は架空のものです。</p></footer><div id="toast"></div>`

const voices = [['40代・会員歴3年', '夕方まで乾きにくくなり、化粧直しが減りました。'], ['30代・会員歴1年', '香りがやさしく、夜のお手入れが楽しみです。'], ['50代・会員歴5年', '定期便なら買い忘れがなく、助かっています。']]
const concerns = ['乾燥が気になる', 'くすんだ印象', '毛穴の目立ち', 'ゆらぎやすい']

function top({ variant }) {
  const hero = firstViews[variant]
  return `<section id="hero" class="hero-${variant}"><div class="copy"><p class="kicker">${hero.kicker}</p><h1>${hero.title}</h1><p class="lead">${hero.lead}</p>
<a id="hero-cta" class="button" href="/list">${hero.cta}</a></div><div class="scene"></div></section>`
    + section('ranking', '人気ランキング', 'RANKING', `<div class="grid">${goods.filter(good => good.rank).sort((a, b) => a.rank - b.rank).map(card).join('')}</div>`)
    + section('concerns', 'お悩みから選ぶ', 'CONCERNS', `<div class="chips">${concerns.map(text => `<a href="/list">${text}</a>`).join('')}</div>`)
    + section('story', '水と植物で、素肌をととのえる', 'OUR STORY', '<div class="story"><div class="leaf"></div><p>澄葉の工房は、湧き水の町にあります。<br>その日に摘んだ葉を、その日のうちに。<br>肌に余計なものは、できるだけ加えません。</p></div>')
    + section('voices', 'お客さまの声', 'VOICES', `<div class="voices">${voices.map(([who, text]) => `<p>${text}<small>${who}</small></p>`).join('')}</div>`)
    + `<section id="coupon-banner"><div><p class="kicker">会員さま限定</p><p class="big">秋のうるおいクーポン<b>500円OFF</b></p><p class="term">2026年11月30日(月)まで・お一人さま1回限り</p></div><button id="coupon-get" class="button" data-coupon="AUTUMN500">クーポンを使う</button></section>`
    + section('new-items', '新商品', 'NEW ITEMS', `<div class="grid">${goods.filter(good => good.fresh).map(card).join('')}</div>`)
}

function list({ query }) {
  const wanted = query.get('q') ?? ''
  const shown = [...goods].sort((a, b) => b.category.includes(wanted) - a.category.includes(wanted)) // every page of the list has the same height
  const title = wanted ? `「${wanted.replace(/[<>&"]/g, '')}」の検索結果` : '商品一覧'
  return section('list', title, wanted ? '関連度順・全12件' : '全12件', `<div class="grid">${shown.map(card).join('')}</div>`)
}

function item({ query }) {
  const good = goodById[query.get('id')] ?? goods[0]
  return `<section id="item"><div id="item-picture">${picture(good)}</div><div class="detail"><p class="kicker">${good.category}</p><h1>${good.name}<small>${good.size}</small></h1>
<p class="lead">${good.note}</p><p class="price">${yen(good.price)}<small>(税込)</small></p><button id="add-to-cart" class="button" data-item="${good.id}">カートに入れる</button>
<p class="fine">${Math.floor(good.price / 100)}ポイント進呈・通常2〜3日で発送</p></div></section>`
    + section('about-item', '商品について', 'DETAILS', `<div class="rows"><p><b>使い方</b>適量を手に取り、顔全体にやさしくなじませます。</p><p><b>使用感</b>さらりと広がり、あとからしっとり感が続きます。</p><p><b>香り</b>柚子とひのきの、ほのかな香り。</p><p><b>無添加</b>合成着色料・鉱物油・パラベン不使用。</p></div>`)
    + section('item-voices', 'お客さまの声', '4.6 / 5.0', `<div class="voices">${voices.map(([who, text]) => `<p>${text}<small>${who}</small></p>`).join('')}</div>`)
    + section('related', 'いっしょに使いたい', 'RELATED', `<div class="grid">${goods.filter(other => other.id !== good.id).slice(0, 4).map(card).join('')}</div>`)
}

function cartPage({ cart, coupon }) {
  if (!cart.length) return section('cart', 'カート', 'CART', '<p class="empty">カートに商品はありません。</p><a class="button" href="/list">商品一覧を見る</a>')
  const sums = totals(cart, coupon)
  return section('cart', 'カート', 'CART', `<div id="cart-lines">${cart.map(({ id, quantity }) => `<div class="line">${picture(goodById[id])}<p>${goodById[id].name}<small>数量 ${quantity}</small></p><p class="price">${yen(goodById[id].price)}</p></div>`).join('')}</div>
<div id="cart-sums" class="rows"><p><b>商品合計</b>${yen(sums.gross)}</p><p><b>クーポン</b>${sums.discount ? '−' + yen(sums.discount) : 'なし'}</p><p><b>送料</b>${yen(sums.shipping)}</p><p class="sum"><b>お支払い合計(税込)</b>${yen(sums.total)}</p></div>
<button id="checkout" class="button">ご注文手続きへ</button><div id="confirm"><p>お届け先・お支払い方法は、会員登録の内容を使用します。</p><button id="place-order" class="button">この内容で注文する</button></div>`)
}

const thanks = () => section('thanks', 'ご注文ありがとうございます', 'THANK YOU', '<p class="empty">ご注文を承りました。<br>発送しましたら、メールでお知らせします。</p><a class="button" href="/">トップページへ</a>')

function mypage({ member, coupon }) {
  if (!member) return section('mypage-login', 'ログイン', 'LOGIN', `<p class="empty">マイページのご利用にはログインが必要です。</p>${loginForm}`)
  const number = Number(member.userId.slice(1))
  const points = 120 + number * 37 % 2900
  const product = goods[number % 4]
  const own = couponsOf[member.rank].map(id => `<div class="coupon"><p><b>${coupons[id].value}</b>${coupons[id].name}<small>${coupons[id].term}</small></p>${id === coupon ? '<button class="button" disabled>適用中</button>' : `<button class="button" data-coupon="${id}">使う</button>`}</div>`).join('')
  return `<section id="mypage"><h2>マイページ<small>MY PAGE</small></h2><div id="mypage-status"><p>現在のランク<b id="mypage-rank">${rankNames[member.rank]}</b></p><p>保有ポイント<b id="mypage-points">${points.toLocaleString('ja-JP')}<i>ポイント</i></b></p></div></section>`
    + section('mypage-coupons', '保有クーポン', 'COUPONS', own)
    + section('orders', 'ご注文履歴', 'ORDERS', `<div class="rows"><p><b>2026年8月12日</b>${product.name} ほか1点</p><p><b>2026年6月3日</b>${product.name}</p><p><b>2026年4月21日</b>${goods[(number + 3) % 12].name} ほか2点</p></div>`)
    + section('contract', '定期便のご契約', 'SUBSCRIPTION', `<div class="contract">${picture(product)}<div><p class="name">${product.name}</p><p id="contract-state">次回お届け:2026年11月10日(火)</p></div></div>
<div class="pair"><button id="contract-skip" class="button" data-contract="skip" data-label="次回のお届けを1回お休みします">次回をお休みする</button><button id="contract-change" class="button plain" data-contract="interval" data-label="お届け間隔を2か月に変更しました">お届け間隔を変更する</button></div>`)
    + section('account', '会員情報', 'ACCOUNT', `<div class="rows"><p><b>会員番号</b>${member.userId}</p><p><b>お届け先</b>ご登録の住所</p><p><b>メール配信</b>受け取る</p></div>`)
}

const titles = { '/': 'トップ', '/list': '商品一覧', '/item': '商品詳細', '/cart': 'カート', '/thanks': 'ご注文完了', '/mypage': 'マイページ' }
const bodies = { '/': top, '/list': list, '/item': item, '/cart': cartPage, '/thanks': thanks, '/mypage': mypage }

export function render(root, view) { // writes the page, gives its title
  root.innerHTML = header(view) + `<main>${bodies[view.path](view)}</main>` + footer
  const name = view.path === '/item' ? goodById[view.query.get('id')].name : titles[view.path]
  return `${name}|SUMIHA(澄葉)公式オンラインショップ`
}
