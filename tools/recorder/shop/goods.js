// Purpose: what the shop sells and says. Prices are yen with tax. A fictional brand; nothing here is for sale.
export const goods = [
  { id: 'P01', name: 'うるおい化粧水', size: '200mL', category: '化粧水', price: 3300, shape: 'bottle', tint: '#cfe3df', note: '角層のすみずみまで、水を含んだような肌へ。', rank: 1 },
  { id: 'P02', name: 'しっとり乳液', size: '120mL', category: '乳液', price: 3520, shape: 'pump', tint: '#efe3d3', note: 'べたつかず、つつみ込むようになじみます。' },
  { id: 'P03', name: 'ビタミンC美容液', size: '30mL', category: '美容液', price: 5940, shape: 'dropper', tint: '#f4dfae', note: '朝のひと塗りで、透明感のある印象に。', rank: 2 },
  { id: 'P04', name: 'ナイトクリーム', size: '40g', category: 'クリーム', price: 6600, shape: 'jar', tint: '#d9d3e6', note: '眠るあいだの乾燥から、肌を守ります。', rank: 4 },
  { id: 'P05', name: 'とろけるクレンジングバーム', size: '90g', category: 'クレンジング', price: 2970, shape: 'jar', tint: '#f3d5cd', note: '体温でとろけ、メイクにすっとなじみます。', rank: 3 },
  { id: 'P06', name: 'きめ泡洗顔フォーム', size: '110g', category: '洗顔', price: 2200, shape: 'tube', tint: '#d5e4ee', note: '弾むような泡で、こすらず洗えます。' },
  { id: 'P07', name: 'デイリーUVミルク', size: '50mL・SPF50+ PA++++', category: '日焼け止め', price: 2640, shape: 'tube', tint: '#f7e9b8', note: '白浮きしにくく、石けんで落とせます。', rank: 5 },
  { id: 'P08', name: '米ぬか発酵マスク', size: '5枚入', category: 'シートマスク', price: 1980, shape: 'pouch', tint: '#e8e4d2', note: '週に一度の、ごほうびパック。' },
  { id: 'P09', name: 'セラミド保湿ジェル', size: '60g', category: 'ジェル', price: 4180, shape: 'jar', tint: '#cfe6e6', note: 'さっぱり軽いのに、夕方までしっとり。', fresh: true },
  { id: 'P10', name: '目もとハリクリーム', size: '15g', category: 'アイクリーム', price: 5280, shape: 'tube', tint: '#e7cfd6', note: '乾きやすい目もとを、ふっくらと。', fresh: true },
  { id: 'P11', name: 'つやめきリップセラム', size: '10mL', category: 'リップケア', price: 1650, shape: 'dropper', tint: '#f0c9c4', note: '縦じわの目立ちにくい、つややかな口もと。', fresh: true },
  { id: 'P12', name: 'はじめての7日間セット', size: '基本の4品', category: 'トライアル', price: 1100, shape: 'pouch', tint: '#d8e6cd', note: '澄葉のスキンケアを、まずは一週間。', fresh: true },
]
export const goodById = Object.fromEntries(goods.map(good => [good.id, good]))

export const firstViews = {
  A: { kicker: 'SUMIHA 2026 AUTUMN', title: 'うるおいは、<br>毎日の積み重ね。', lead: '国産植物エキスを配合した、<br>素肌のためのスキンケア。', cta: '商品一覧を見る' },
  B: { kicker: 'FIND YOUR CARE', title: 'いまの肌に、<br>ちょうどいい一本を。', lead: '季節の変わりめに迷ったら、<br>お悩みから選べます。', cta: '肌のお悩みから選ぶ' },
}

export const couponsOf = { Bronze: ['AUTUMN500', 'BIRTHDAY'], Silver: ['AUTUMN500', 'SILVER5'], Gold: ['AUTUMN500', 'GOLD8', 'BIRTHDAY'], Royal: ['AUTUMN500', 'ROYAL10', 'BIRTHDAY'] }
export const coupons = {
  AUTUMN500: { name: '秋のうるおいクーポン', value: '500円OFF', term: '2026年11月30日(月)まで', yen: 500 },
  BIRTHDAY: { name: 'お誕生月クーポン', value: '300円OFF', term: '2026年12月31日(木)まで', yen: 300 },
  SILVER5: { name: 'シルバー会員限定', value: '5%OFF', term: '2026年11月30日(月)まで', share: 0.05 },
  GOLD8: { name: 'ゴールド会員限定', value: '8%OFF', term: '2026年11月30日(月)まで', share: 0.08 },
  ROYAL10: { name: 'ロイヤル会員限定', value: '10%OFF', term: '2026年11月30日(月)まで', share: 0.1 },
}
export const rankNames = { Bronze: 'ブロンズ', Silver: 'シルバー', Gold: 'ゴールド', Royal: 'ロイヤル' }
export const yen = amount => amount.toLocaleString('ja-JP') + '円'

export function totals(lines, couponId) { // tax-included yen; consumption tax of 10 % is contained in the goods
  const gross = lines.reduce((sum, line) => sum + goodById[line.id].price * line.quantity, 0)
  const coupon = coupons[couponId]
  const discount = coupon ? Math.min(gross, coupon.yen ?? Math.floor(gross * coupon.share)) : 0
  const paid = gross - discount
  const shipping = paid >= 5500 || lines.every(line => line.id === 'P12') ? 0 : 550
  const tax = Math.floor(paid * 10 / 110)
  return { gross, discount, tax, revenue: paid - tax, shipping, total: paid + shipping }
}
